complete -c sync_server -s C -d 'Configuration: Cyrus\'s imapd.conf, or the TOML form if the name ends in .toml' -r -F
complete -c sync_server -s p -d 'Strength of a layer that protects the connections already (0 none, 1 integrity, more: privacy)' -r
complete -c sync_server -l listen -d 'Listen on ADDRESS:PORT or on a Unix socket, if no socket is inherited; may be repeated' -r
complete -c sync_server -l listen-tls -d 'Listen on ADDRESS:PORT with TLS from the first octet on, if no socket is inherited; may be repeated' -r
complete -c sync_server -l idle-exit -d 'End after so many seconds without a connection; systemd, which keeps the sockets, starts the program for the next one' -r
complete -c sync_server -l print-write-paths -d 'Print the directories of the store as settings of a unit (ReadWritePaths=), and exit'
complete -c sync_server -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sync_server -s V -l version -d 'Print version'
