import java.sql.*;
import java.util.*;

/** What tools over JDBC do: select, prepared statement, metadata, setMaxRows. Prints a line for each. */
public class App {
    public static void main(String[] args) throws Exception {
        Properties login = new Properties();
        login.setProperty("user", args[1]);
        login.setProperty("password", args[2]);
        try (Connection connection = DriverManager.getConnection(args[0], login)) {
            select(connection);
            prepared(connection, Integer.parseInt(args[3]));
            metadata(connection);
            maxRows(connection);
            error(connection);
        }
        System.exit(0);
    }

    static void select(Connection connection) throws SQLException {
        String sql = "SELECT 'a' AS s, toInt64(9007199254740993) AS i, toDecimal64('1.5', 3) AS d, [1, 2] AS l,"
            + " toDateTime64('2024-09-07 08:00:00.250', 3, 'Asia/Shanghai') AS t, NULL AS n, map('k', 1) AS m";
        try (Statement statement = connection.createStatement(); ResultSet row = statement.executeQuery(sql)) {
            row.next();
            System.out.println("select " + row.getString("s") + " " + row.getLong("i") + " "
                + row.getBigDecimal("d").toPlainString() + " " + row.getTimestamp("t").getTime() + " "
                + row.getObject("n") + " " + row.getMetaData().getColumnCount());
        }
        String large = "SELECT number, toString(number) AS text FROM numbers(200000)";
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(large)) {
            long sum = 0;
            while (rows.next()) {
                sum += rows.getLong(1) + rows.getString(2).length();
            }
            System.out.println("large " + sum);
        }
    }

    static void prepared(Connection connection, int shard) throws SQLException {
        String sql = "SELECT verdict, count() AS n FROM entries WHERE shard = ? AND app = ? GROUP BY verdict";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setInt(1, shard);
            statement.setString(2, "metro");
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    System.out.println("prepared " + rows.getString(1) + " " + rows.getLong(2));
                }
            }
        }
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        System.out.println("product " + data.getDatabaseProductName() + " " + !data.getDatabaseProductVersion().isEmpty());
        List<String> tables = new ArrayList<>();
        try (ResultSet rows = data.getTables(null, "points", "%", null)) {
            while (rows.next()) {
                tables.add(rows.getString("TABLE_NAME"));
            }
        }
        System.out.println("tables " + tables.contains("entries") + " " + tables.contains("app_per_day"));
        Map<String, String> columns = new TreeMap<>();
        try (ResultSet rows = data.getColumns(null, "points", "app_per_day", "%")) {
            while (rows.next()) {
                columns.put(rows.getString("COLUMN_NAME"), rows.getString("REMARKS"));
            }
        }
        System.out.println("columns " + String.join(",", columns.keySet()));
        // A database is a schema or a catalog, as the driver has it.
        boolean found = listed(data.getSchemas()).contains("points") || listed(data.getCatalogs()).contains("points");
        System.out.println("database " + found);
        System.out.println("types " + listed(data.getTypeInfo()).contains("Int64"));
        System.out.println("kinds of tables " + !listed(data.getTableTypes()).isEmpty());
    }

    static List<String> listed(ResultSet rows) throws SQLException {
        List<String> first = new ArrayList<>();
        while (rows.next()) {
            first.add(rows.getString(1));
        }
        rows.close();
        return first;
    }

    static void maxRows(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setMaxRows(5);
            try (ResultSet rows = statement.executeQuery("SELECT number FROM numbers(1000000)")) {
                int count = 0;
                while (rows.next()) {
                    count++;
                }
                System.out.println("max rows " + count);
            }
        }
    }

    static void error(Connection connection) {
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT * FROM nothing").close();
        } catch (SQLException error) {
            System.out.println("error " + error.getMessage().contains("Unknown table"));
        }
    }
}
