"""A wire with a tap: a TCP relay between two processes that records every byte, and can be cut or stalled."""

import selectors
import socket
import threading


class Capture:
    """What went over one connection."""

    def __init__(self):
        self.sent = bytearray()      # from the dialling side
        self.received = bytearray()  # from the target


class Tapped:
    """Listens on `listen`, dials `target` for each connection, copies both ways. Runs in a thread of its own."""

    def __init__(self, listen, target):
        self.target = target
        self.captures = []  # one a connection
        self._stalled = False
        self._links = []
        self._listener = socket.create_server(listen)
        self.address = self._listener.getsockname()
        self._wake, self._woken = socket.socketpair()
        self._stop = False
        self._cut = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connections(self):
        return len(self.captures)

    @property
    def sent(self):
        """All that dialling sides said, one connection after the other."""
        return b"".join(capture.sent for capture in self.captures)

    @property
    def received(self):
        return b"".join(capture.received for capture in self.captures)

    def cut(self):
        """Closes every connection that is open, with a reset."""
        self._cut = True
        self._wake.send(b"x")

    def stall(self, stalled=True):
        """Passes nothing on while stalled; the connections stay open."""
        self._stalled = stalled
        self._wake.send(b"x")

    def close(self):
        self._stop = True
        self._wake.send(b"x")
        self._thread.join()
        for end in (self._listener, self._wake, self._woken):
            end.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def _run(self):
        while not self._stop:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                if not self._stalled:
                    for left, right, capture in self._links:
                        selector.register(left, selectors.EVENT_READ, (right, capture.sent))
                        selector.register(right, selectors.EVENT_READ, (left, capture.received))
                for key, _ in selector.select(timeout=1):
                    self._serve(key)
            if self._cut:
                self._cut = False
                for left, right, _ in self._links:
                    reset(left)
                    reset(right)
                self._links.clear()
        for left, right, _ in self._links:
            left.close()
            right.close()

    def _serve(self, key):
        if key.fileobj is self._woken:
            self._woken.recv(4096)
        elif key.fileobj is self._listener:
            left, _ = self._listener.accept()
            try:
                right = socket.create_connection(self.target, timeout=5)
                self.captures.append(Capture())
                self._links.append((left, right, self.captures[-1]))
            except OSError:
                left.close()
        else:
            other, record = key.data
            try:
                data = key.fileobj.recv(65536)
                record += data
                if data:
                    other.sendall(data)
                    return
            except OSError:
                pass
            self._links = [link for link in self._links if key.fileobj not in link]
            key.fileobj.close()
            other.close()


def reset(stream):
    """Closes with RST, as a machine that vanished and came back would."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.close()
