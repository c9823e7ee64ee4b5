complete -c sync_client -s C -d 'The configuration file' -r -F
complete -c sync_client -s n -l channel -d 'The channel' -r
complete -c sync_client -s S -l server -d 'The replica: HOST, HOST:PORT with /tls or /noauth behind it, or /PATH of a socket' -r
complete -c sync_client -s f -l input-file -d 'Read users, mailboxes or sync log lines from a file (- is the standard input)' -r -F
complete -c sync_client -s F -l shutdown-file -d 'Stop rolling when this file appears' -r -F
complete -c sync_client -s w -l delayed-startup -d 'Wait before starting' -r
complete -c sync_client -s t -l timeout -d 'Reconnect a rolling session after this time, 0 = never' -r
complete -c sync_client -s d -l delay -d 'Shortest time from one run of the log to the next' -r
complete -c sync_client -s p -l dest-partition -d 'The partition of the replica for everything' -r
complete -c sync_client -l jobs -d 'Replicate this many users at a time; default: two per core, at most 4, twice as many if the replica is far, and 1 with -v' -r
complete -c sync_client -s r -l rolling -d 'Rolling replication: process the sync log again and again'
complete -c sync_client -s R -l foreground-rolling -d 'Rolling replication in the foreground; with an input file, process it once'
complete -c sync_client -s 1 -l rolling-once -d 'With -r or -R: process the log once and stop'
complete -c sync_client -s u -l userids -d 'The arguments are users: replicate each completely'
complete -c sync_client -s m -l mailboxes -d 'The arguments are mailboxes: replicate exactly these'
complete -c sync_client -s s -l sieve-mode -d 'The arguments are users: replicate their seen state, subscriptions and Sieve scripts'
complete -c sync_client -s A -l all-users -d 'All users and shared mailboxes, or those whose names begin with the argument'
complete -c sync_client -s v -l verbose -d 'Print what is done; twice: trace the session, without passwords'
complete -c sync_client -s l -l verbose-logging -d 'Log what is done'
complete -c sync_client -s o -l connect-once -d 'Do not try again if the connection cannot be made'
complete -c sync_client -s z -l require-compression -d 'Fail if the replica does not offer compression'
complete -c sync_client -s L -l local-only -d 'Change the mailbox list of the replica only, not that of its Murder'
complete -c sync_client -s N -l skip-locked -d 'Skip users who are being replicated by another process'
complete -c sync_client -s O -l no-copyback -d 'Force the master\'s state upon the replica, copy nothing back'
complete -c sync_client -s a -l stage-to-archive -d 'Let the replica stage messages on its archive partition'
complete -c sync_client -l stop -d 'End the rolling client of the channel by its shutdown file, if it has one'
complete -c sync_client -l dry-run -d 'Show what would be sent, send nothing that changes the replica'
complete -c sync_client -l progress -d 'Show a progress bar if the standard error is a terminal'
complete -c sync_client -l json -d 'Print one JSON object for each user or mailbox'
complete -c sync_client -s h -l help -d 'Print help'
complete -c sync_client -s V -l version -d 'Print version'
