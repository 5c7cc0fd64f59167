import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Runs a connector for each file of properties, and sends what it emits to one topic, until a line comes on stdin. */
public class Recorder {
    public static void main(String[] args) throws Exception {
        Properties kafka = new Properties();
        kafka.put("bootstrap.servers", args[0]);
        kafka.put("acks", "all");
        KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(kafka, new ByteArraySerializer(), new ByteArraySerializer());
        List<DebeziumEngine<ChangeEvent<String, String>>> engines = new ArrayList<>();
        ExecutorService threads = Executors.newCachedThreadPool();
        for (int i = 2; i < args.length; i++) {
            Properties properties = new Properties();
            try (FileReader file = new FileReader(args[i])) {
                properties.load(file);
            }
            String mode = new File(args[i]).getName().replace(".properties", "");
            DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                    .using(properties)
                    .using((success, message, error) -> ended(mode, success, error))
                    .notifying(event -> send(producer, args[1], mode, event))
                    .build();
            engines.add(engine);
            threads.execute(engine);
        }
        System.out.println("running");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        for (DebeziumEngine<?> engine : engines) {
            engine.close();
        }
        producer.close();
        threads.shutdown();
        System.exit(0);
    }

    private static void ended(String mode, boolean success, Throwable error) {
        System.out.println("ended " + mode + (success ? "" : ": it failed"));
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            System.out.println("  " + cause.getClass().getSimpleName() + ": " + String.valueOf(cause.getMessage()).split("\n")[0]);
        }
        if (!success) {
            System.exit(1);
        }
    }

    private static void send(
            KafkaProducer<byte[], byte[]> producer, String topic, String mode, ChangeEvent<String, String> event) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, bytes(event.key()), bytes(event.value()));
        record.headers().add("mode", bytes(mode));
        record.headers().add("destination", bytes(event.destination()));
        producer.send(record);
    }

    private static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }
}
