package ledgermq.interop;

import io.openmessaging.storage.dledger.DLedgerConfig;
import io.openmessaging.storage.dledger.DLedgerServer;
import java.lang.reflect.Method;
import java.util.Arrays;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;

/**
 * One stock member of a DLedger group, as a process: prints {@code serving} when it listens, and stops cleanly on
 * SIGTERM. Arguments are settings of {@link DLedgerConfig}, {@code name=value}.
 */
public final class DLedgerNode {
    private DLedgerNode() {
    }

    public static void main(String[] arguments) throws Exception {
        DLedgerConfig config = new DLedgerConfig();
        for (String argument : arguments) {
            int equals = argument.indexOf('=');
            set(config, argument.substring(0, equals), argument.substring(equals + 1));
        }
        NettyServerConfig netty = new NettyServerConfig();
        netty.setBindAddress("127.0.0.1");
        DLedgerServer server = new DLedgerServer(config, netty);
        server.startup();
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
        System.out.println("serving");
    }

    private static void set(DLedgerConfig config, String name, String value) throws Exception {
        String setter = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
        Method method = Arrays.stream(DLedgerConfig.class.getMethods())
            .filter(candidate -> candidate.getName().equals(setter) && candidate.getParameterCount() == 1)
            .findFirst()
            .orElseThrow(() -> new IllegalArgumentException("no setting " + name));
        Class<?> kind = method.getParameterTypes()[0];
        if (kind == String.class) {
            method.invoke(config, value);
        } else if (kind == boolean.class) {
            method.invoke(config, Boolean.parseBoolean(value));
        } else if (kind == long.class) {
            method.invoke(config, Long.parseLong(value));
        } else if (kind == int.class) {
            method.invoke(config, Integer.parseInt(value));
        } else if (kind == float.class) {
            method.invoke(config, Float.parseFloat(value));
        } else {
            throw new IllegalArgumentException(name + " is of " + kind);
        }
    }
}
