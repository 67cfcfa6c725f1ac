import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.apache.kafka.trogdor.common.JsonUtil;
import org.apache.kafka.trogdor.workload.PayloadGenerator;

/**
 * Prints what upstream's payload generators make, as JSON. Run once, with Java Trogdor's jars on the class path:
 *     java -cp 'JARS/*' PayloadVectors.java > ../unit/workload/payload_vectors.json
 * The first 8 bytes of a payload with a timestamp are left out ("from": 8).
 */
public class PayloadVectors {
    static final long[] POSITIONS = {0, 1, 2, 3, 41, 255, 256, 65535, 4294967296L, 123456789012345L};

    static final String[] SPECS = {
        "{'type':'constant','size':10}",
        "{'type':'constant','size':10,'value':'AAECAwQ='}",
        "{'type':'constant','size':7,'value':'AAECAwQ='}",
        "{'type':'sequential','size':4}",
        "{'type':'sequential','size':4,'offset':4294967290}",
        "{'type':'sequential','size':8,'offset':-3}",
        "{'type':'sequential','size':12,'offset':7}",
        "{'type':'uniformRandom','size':32,'seed':123,'padding':10}",
        "{'type':'uniformRandom','size':33,'seed':-1,'padding':0}",
        "{'type':'uniformRandom','size':5,'seed':9223372036854775807,'padding':5}",
        "{'type':'uniformRandom','size':101,'seed':456,'padding':3}",
        "{'type':'null'}",
        "{'type':'randomComponent','seed':47,'components':[{'percent':30,'component':{'type':'constant','size':3}},"
            + "{'percent':50,'component':{'type':'sequential','size':2}},"
            + "{'percent':20,'component':{'type':'uniformRandom','size':6,'seed':5,'padding':1}}]}",
        "{'type':'timestampConstant','size':16}",
        "{'type':'timestampRandom','size':8,'seed':12}",
        "{'type':'timestampRandom','size':41,'seed':12}",
        "{'type':'gaussianTimestampConstant','messageSizeAverage':100,'messageSizeDeviation':30.5,"
            + "'messagesUntilSizeChange':2,'seed':99}",
        "{'type':'gaussianTimestampRandom','messageSizeAverage':20,'messageSizeDeviation':20,"
            + "'messagesUntilSizeChange':1,'seed':7}",
    };

    public static void main(String[] args) throws Exception {
        ObjectNode all = JsonUtil.JSON_SERDE.createObjectNode();
        ArrayNode payloads = all.putArray("payloads");
        for (String text : SPECS) {
            String json = text.replace('\'', '"');
            PayloadGenerator generator = JsonUtil.JSON_SERDE.readValue(json, PayloadGenerator.class);
            int from = json.contains("imestamp") ? 8 : 0;
            ObjectNode entry = payloads.addObject();
            entry.set("payload", JsonUtil.JSON_SERDE.readTree(json));
            entry.put("from", from);
            ArrayNode made = entry.putArray("made");
            for (long position : POSITIONS) {
                byte[] bytes = generator.generate(position);
                made.addArray().add(position)
                    .add(bytes == null ? null : HexFormat.of().formatHex(bytes, from, bytes.length));
            }
        }
        ArrayNode randoms = all.putArray("randoms");
        for (long seed : new long[] {0, 1, -1, 42, Long.MAX_VALUE, Long.MIN_VALUE}) {
            ObjectNode entry = randoms.addObject().put("seed", seed);
            Random random = new Random(seed);
            byte[] bytes = new byte[11];
            random.nextBytes(bytes);
            entry.put("bytes", HexFormat.of().formatHex(bytes));
            ArrayNode ints = entry.putArray("ints");
            for (int bound : new int[] {100, 64, 1 << 30, (1 << 30) + 1, 3, 1}) {
                ints.addArray().add(bound).add(random.nextInt(bound));
            }
            ArrayNode gaussians = entry.putArray("gaussians");
            for (int i = 0; i < 5; i++) {
                gaussians.add(random.nextGaussian());
            }
        }
        System.out.println(JsonUtil.JSON_SERDE.writerWithDefaultPrettyPrinter().writeValueAsString(all));
    }
}
