# Arguments: address, port.
import asyncio, sys

def answer(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

SMALL, BIG = answer(b"ok-" * 19 + b"ok\n"), answer(b"x" * 1000000)

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.request = transport, b""

    def data_received(self, data):
        self.request += data
        while b"\r\n\r\n" in self.request:
            head, self.request = self.request.split(b"\r\n\r\n", 1)
            self.transport.write(BIG if head.startswith(b"GET /big") else SMALL)
            if b"onnection: close" in head:
                self.transport.close()

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, sys.argv[1], int(sys.argv[2]))
    await server.serve_forever()

asyncio.run(main())
