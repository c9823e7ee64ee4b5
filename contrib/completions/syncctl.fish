# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_syncctl_global_optspecs
    string join \n json h/help V/version
end

function __fish_syncctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_syncctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_syncctl_using_subcommand
    set -l cmd (__fish_syncctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c syncctl -n "__fish_syncctl_needs_command" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_needs_command" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_needs_command" -s V -l version -d 'Print version'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "init" -d 'Make what is missing of a store: directories, databases, users, mailboxes'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "import" -d 'Append the messages of mbox files and Maildirs to the mailboxes of a user'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "ls" -d 'List users, or the mailboxes of a user or below a mailbox, with what they hold'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "compare" -d 'Compare two stores; exit status 0 if they are equal, 1 if not'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "passwd" -d 'Set or remove the password of a user in the file cyrus_sync_password_file'
complete -c syncctl -n "__fish_syncctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c syncctl -n "__fish_syncctl_using_subcommand init" -s C -d 'The configuration file' -r -F
complete -c syncctl -n "__fish_syncctl_using_subcommand init" -l user -d 'Make this user\'s INBOX; may be repeated' -r
complete -c syncctl -n "__fish_syncctl_using_subcommand init" -l mailbox -d 'Make this mailbox, a name as administrators write it (user/alice/Work); may be repeated' -r
complete -c syncctl -n "__fish_syncctl_using_subcommand init" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_using_subcommand init" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_using_subcommand import" -s C -d 'The configuration file' -r -F
complete -c syncctl -n "__fish_syncctl_using_subcommand import" -l user -d 'Whose mailboxes' -r
complete -c syncctl -n "__fish_syncctl_using_subcommand import" -l mailbox -d 'The mailbox below the user\'s INBOX, instead of the INBOX; made if it is missing' -r
complete -c syncctl -n "__fish_syncctl_using_subcommand import" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_using_subcommand import" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_using_subcommand ls" -s C -d 'The configuration file' -r -F
complete -c syncctl -n "__fish_syncctl_using_subcommand ls" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_using_subcommand ls" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_using_subcommand compare" -l content -d 'Also read every message and check its SHA-1'
complete -c syncctl -n "__fish_syncctl_using_subcommand compare" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_using_subcommand compare" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_using_subcommand passwd" -s C -d 'The configuration file' -r -F
complete -c syncctl -n "__fish_syncctl_using_subcommand passwd" -l delete -d 'Remove the password'
complete -c syncctl -n "__fish_syncctl_using_subcommand passwd" -l json -d 'Print JSON objects, one a line, instead of text'
complete -c syncctl -n "__fish_syncctl_using_subcommand passwd" -s h -l help -d 'Print help'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "init" -d 'Make what is missing of a store: directories, databases, users, mailboxes'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "import" -d 'Append the messages of mbox files and Maildirs to the mailboxes of a user'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "ls" -d 'List users, or the mailboxes of a user or below a mailbox, with what they hold'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "compare" -d 'Compare two stores; exit status 0 if they are equal, 1 if not'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "passwd" -d 'Set or remove the password of a user in the file cyrus_sync_password_file'
complete -c syncctl -n "__fish_syncctl_using_subcommand help; and not __fish_seen_subcommand_from init import ls compare passwd help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
