"""A relay that hides a server's offers of compression and of records in a compact form, so that its clients
replicate without."""
import socket
import threading

OFFERS = (b"* COMPRESS DEFLATE\r\n", b"* X-ZSTD\r\n", b"* X-RECORDS\r\n")


class Relay:
    """Listens on a port of 127.0.0.1 and passes everything on to another, but for the offers."""

    def __init__(self, port, target):
        self.target = target
        self.hidden = 0     # offers
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        # wakes accept(), which close() alone does not
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with server:
                threading.Thread(target=copy, args=(client, server), daemon=True).start()
                banner = b""
                while b"\r\n* OK " not in banner and not banner.startswith(b"* OK "):
                    octets = server.recv(65536)
                    if not octets:
                        break
                    banner += octets
                for offer in OFFERS:
                    self.hidden += banner.count(offer)
                    banner = banner.replace(offer, b"")
                client.sendall(banner)
                copy(server, client)


def copy(source, sink):
    """Until the source ends; then the sink ends as well."""
    try:
        while True:
            octets = source.recv(65536)
            if not octets:
                break
            sink.sendall(octets)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
