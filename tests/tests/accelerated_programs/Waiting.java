import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;

/** Answers each POST with the SHA-256 of its body. Reads only what available() says is there. */
class Waiting {
    public static void main(String[] args) throws Exception {
        ServerSocketChannel server = ServerSocketChannel.open();
        server.configureBlocking(false);
        server.bind(new InetSocketAddress("127.0.0.1", 8080));
        Selector selector = Selector.open();
        server.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("ready");
        while (true) {
            selector.select();
            selector.selectedKeys().clear();
            try (SocketChannel client = server.accept()) {
                if (client != null) {
                    answer(client);
                }
            } catch (java.io.IOException lateClient) {
                System.err.println(lateClient);
            }
        }
    }

    private static final long PATIENCE_NANOS = 20_000_000_000L;

    private static void answer(SocketChannel client) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_NANOS;
        client.configureBlocking(false);
        InputStream waiting = client.socket().getInputStream();
        ByteBuffer got = ByteBuffer.allocate(8 << 20);
        int length = -1;
        int body = 0;
        while (length < 0 || got.position() < body + length) {
            int count = waiting.available();
            if (count == 0) {
                Thread.sleep(1);
                if (System.nanoTime() > deadline) {
                    return;
                }
                continue;
            }
            got.limit(got.position() + count);
            if (client.read(got) < 0) {
                return;
            }
            if (length < 0) {
                String head = new String(got.array(), 0, got.position(), StandardCharsets.ISO_8859_1);
                body = head.indexOf("\r\n\r\n") + 4;
                if (body > 4) {
                    String rest = head.substring(head.toLowerCase().indexOf("content-length:") + 15).trim();
                    length = Integer.parseInt(rest.split("\r\n")[0]);
                }
            }
        }
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        digest.update(got.array(), body, length);
        String sum = HexFormat.of().formatHex(digest.digest());
        String reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 65\r\n\r\n" + sum + "\n";
        client.configureBlocking(true);
        client.write(ByteBuffer.wrap(reply.getBytes(StandardCharsets.ISO_8859_1)));
    }
}
