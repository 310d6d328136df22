import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** For each line "base next": what is read there, as "offset:bytes:hash ...", and "error ..." where that fails. */
public class App {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        try (var in = Files.newBufferedReader(Path.of(args[0]))) {
            config.load(in);
        }
        TopicPartition partition = new TopicPartition(args[1], Integer.parseInt(args[2]));
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(config, bytes, bytes)) {
            consumer.assign(List.of(partition));
            for (String line : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
                String[] span = line.split(" ");
                System.out.println(read(consumer, partition, Long.parseLong(span[0]), Long.parseLong(span[1])));
            }
        }
    }

    static String read(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long base, long next)
            throws Exception {
        StringBuilder found = new StringBuilder();
        consumer.seek(partition, base);
        long end = System.nanoTime() + 30_000_000_000L;
        try {
            while (consumer.position(partition) < next) {
                if (System.nanoTime() > end) {
                    return found + "error none within 30 s";
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    if (record.offset() < next) {
                        byte[] value = record.value() == null ? new byte[0] : record.value();
                        found.append("%d:%d:%s ".formatted(record.offset(), value.length, hash(value)));
                    }
                }
            }
        } catch (Throwable error) {
            found.append("error ").append(error);
        }
        return found.toString().replace('\n', ' ');
    }

    static String hash(byte[] value) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(value);
        return HexFormat.of().formatHex(hash, 0, 8);
    }
}
