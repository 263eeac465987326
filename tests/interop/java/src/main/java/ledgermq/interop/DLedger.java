package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import io.openmessaging.storage.dledger.DLedgerConfig;
import io.openmessaging.storage.dledger.MemberState;
import io.openmessaging.storage.dledger.client.DLedgerClient;
import io.openmessaging.storage.dledger.entry.DLedgerEntry;
import io.openmessaging.storage.dledger.protocol.AppendEntryResponse;
import io.openmessaging.storage.dledger.protocol.GetEntriesResponse;
import io.openmessaging.storage.dledger.protocol.LeadershipTransferResponse;
import io.openmessaging.storage.dledger.protocol.RequestOrResponse;
import io.openmessaging.storage.dledger.store.file.DLedgerMmapFileStore;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** {@code dledger.*}: the stock client of DLedger groups, and a look into the directory of a stopped member. */
final class DLedger {
    private final Map<String, DLedgerClient> clients = new HashMap<>();

    void register(Map<String, Driver.Operation> operations) {
        operations.put("dledger.append", this::append);
        operations.put("dledger.get", this::get);
        operations.put("dledger.transfer", this::transfer);
        operations.put("dledger.close", this::close);
        operations.put("dledger.read", this::read);
        operations.put("dledger.digests", this::digests);
    }

    private DLedgerClient client(JSONObject args) {
        return clients.computeIfAbsent(args.getString("group") + " " + args.getString("peers"), key -> {
            DLedgerClient client = new DLedgerClient(args.getString("group"), args.getString("peers"));
            client.startup();
            return client;
        });
    }

    /** group, peers, bodies: appends one after the other and returns each answer. */
    private Object append(JSONObject args) {
        DLedgerClient client = client(args);
        List<Map<String, Object>> answers = new ArrayList<>();
        for (Object body : args.getJSONArray("bodies")) {
            AppendEntryResponse response = client.append(Base64.getDecoder().decode((String) body));
            Map<String, Object> answer = of(response);
            answer.put("index", response.getIndex());
            answer.put("pos", response.getPos());
            answers.add(answer);
        }
        return answers;
    }

    /** group, peers, index. */
    private Object get(JSONObject args) {
        GetEntriesResponse response = client(args).get(args.getLongValue("index"));
        Map<String, Object> answer = of(response);
        List<Map<String, Object>> entries = new ArrayList<>();
        for (DLedgerEntry entry : response.getEntries()) {
            entries.add(of(entry));
        }
        answer.put("entries", entries);
        return answer;
    }

    /** group, peers, from, to, term. */
    private Object transfer(JSONObject args) {
        LeadershipTransferResponse response = client(args).leadershipTransfer(
            args.getString("from"), args.getString("to"), args.getLongValue("term"));
        return of(response);
    }

    /** group, peers. */
    private Object close(JSONObject args) {
        DLedgerClient client = clients.remove(args.getString("group") + " " + args.getString("peers"));
        if (client != null) {
            client.shutdown();
        }
        return null;
    }

    /**
     * directory (the base directory), id, dataFileBytes, indexFileBytes: every entry that Java's file store finds
     * there, after its own recovery.
     */
    private Object read(JSONObject args) {
        DLedgerMmapFileStore store = open(args);
        List<Map<String, Object>> entries = new ArrayList<>();
        for (DLedgerEntry entry : entries(store)) {
            entries.add(of(entry));
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("beginIndex", store.getLedgerBeginIndex());
        answer.put("endIndex", store.getLedgerEndIndex());
        answer.put("committedIndex", store.getCommittedIndex());
        answer.put("entries", entries);
        return answer;
    }

    /** As read: index, term, pos, size and the body's SHA-1 of each entry. */
    private Object digests(JSONObject args) throws NoSuchAlgorithmException {
        MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
        List<Object> rows = new ArrayList<>();
        for (DLedgerEntry entry : entries(open(args))) {
            byte[] body = entry.getBody() == null ? new byte[0] : entry.getBody();
            rows.add(List.of(entry.getIndex(), entry.getTerm(), entry.getPos(), entry.getSize(),
                HexFormat.of().formatHex(sha1.digest(body))));
        }
        return rows;
    }

    private static DLedgerMmapFileStore open(JSONObject args) {
        DLedgerConfig config = new DLedgerConfig();
        config.setSelfId(args.getString("id"));
        config.setPeers(args.getString("id") + "-localhost:1");
        config.setStoreBaseDir(args.getString("directory"));
        config.setMappedFileSizeForEntryData(args.getIntValue("dataFileBytes"));
        config.setMappedFileSizeForEntryIndex(args.getIntValue("indexFileBytes"));
        DLedgerMmapFileStore store = new DLedgerMmapFileStore(config, new MemberState(config));
        store.load();
        store.recover();
        return store;
    }

    private static List<DLedgerEntry> entries(DLedgerMmapFileStore store) {
        List<DLedgerEntry> entries = new ArrayList<>();
        if (store.getLedgerEndIndex() >= 0) {
            for (long index = store.getLedgerBeginIndex(); index <= store.getLedgerEndIndex(); index++) {
                entries.add(store.get(index));
            }
        }
        return entries;
    }

    private static Map<String, Object> of(RequestOrResponse response) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("code", response.getCode());
        json.put("leaderId", response.getLeaderId());
        json.put("term", response.getTerm());
        return json;
    }

    private static Map<String, Object> of(DLedgerEntry entry) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("magic", entry.getMagic());
        json.put("size", entry.getSize());
        json.put("index", entry.getIndex());
        json.put("term", entry.getTerm());
        json.put("pos", entry.getPos());
        json.put("channel", entry.getChannel());
        json.put("chainCrc", entry.getChainCrc());
        json.put("bodyCrc", entry.getBodyCrc());
        json.put("body", entry.getBody() == null ? null : Base64.getEncoder().encodeToString(entry.getBody()));
        return json;
    }
}
