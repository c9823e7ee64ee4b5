"""Proxies: one can keep back what the server answers, so that it can be seen what a client sends without an
answer; one breaks connections."""
import socket
import threading


class Gate:
    """Listens at 127.0.0.1:`port` and leads to `target`. What the server answers on connections
    that are closed (`close`) is kept back until they are opened again."""

    def __init__(self, port, target):
        host, _, number = target.rpartition(":")
        self.address, self.target = "127.0.0.1:%d" % port, (host, int(number))
        self.ways_back = []                     # of each connection
        self.kept_back = 0
        self.listener = socket.create_server(("127.0.0.1", port))
        self.sockets = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open()
        for each in self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)         # wakes up whoever waits at it
            except OSError:
                pass                                    # the other side was faster
            each.close()

    def close(self):
        """Keeps back what comes from now on, on the connections that there are."""
        for way in self.ways_back:
            way.clear()

    def open(self):
        for way in self.ways_back:
            way.set()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                return
            way = threading.Event()
            way.set()
            self.ways_back.append(way)
            self.sockets += [client, server]
            threading.Thread(target=self.pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, way), daemon=True).start()

    def pump(self, source, sink, way):
        """Passes on what comes from one side, if the way is open."""
        try:
            while data := source.recv(1 << 16):
                if way and not way.is_set():
                    self.kept_back += len(data)
                    way.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass                                # one of the sides has ended


class FlakyLine(Gate):
    """Breaks the connection over which `word` is about to be sent, each `every`th time, `times` times at most.
    Nothing is compressed."""

    OFFERS = (b"* COMPRESS DEFLATE\r\n", b"* X-ZSTD\r\n")

    def __init__(self, port, target, word, times, every=1):
        self.word, self.times, self.every = word, times, every
        self.seen = self.broken = 0
        super().__init__(port, target)

    def pump(self, source, sink, way):
        try:
            tail = b""
            while data := source.recv(1 << 16):
                if way:
                    for offer in self.OFFERS:
                        data = data.replace(offer, b"")
                elif self.word in tail + data:
                    self.seen += 1
                    if self.seen % self.every == 0 and self.broken < self.times:
                        self.broken += 1
                        break
                tail = (tail + data)[1 - len(self.word):]
                sink.sendall(data)
        except OSError:
            pass                                # one of the sides has ended
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
