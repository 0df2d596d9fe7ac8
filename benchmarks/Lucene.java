import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.search.*;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/**
 * What Elasticsearch and OpenSearch make of rank_features and sparse_vector, in Lucene itself: lines in, lines out.
 *
 * add ID FEATURE:VALUE …, delete ID, commit, boosted|weighted SIZE ONLY FEATURE:WEIGHT … with ONLY ids with commas
 * between, or -. Ids come and go in hexadecimal digits. An answer is a line: "ok …", or "error …".
 */
public final class Lucene {
    static final String FIELD = "code";

    public static void main(String[] arguments) throws Exception {
        IndexWriterConfig how = new IndexWriterConfig(null);
        FSDirectory directory = FSDirectory.open(Paths.get(arguments[0]));
        IndexWriter writer = new IndexWriter(directory, how);
        writer.commit();
        DirectoryReader reader = DirectoryReader.open(directory);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            try {
                String answer = "ok";
                if (words[0].equals("add")) {
                    Document document = new Document();
                    document.add(new StringField("id", words[1], Field.Store.YES));
                    for (int i = 2; i < words.length; i++) {
                        String[] pair = words[i].split(":");
                        document.add(new FeatureField(FIELD, pair[0], Float.parseFloat(pair[1])));
                    }
                    writer.updateDocument(new Term("id", words[1]), document);
                } else if (words[0].equals("delete")) {
                    writer.deleteDocuments(new Term("id", words[1]));
                } else if (words[0].equals("commit")) {
                    writer.commit();
                    reader.close();
                    reader = DirectoryReader.open(directory);
                } else {
                    answer += found(new IndexSearcher(reader), words);
                }
                out.println(answer);
            } catch (IllegalArgumentException | BooleanQuery.TooManyClauses error) {
                out.println("error " + String.valueOf(error.getMessage()).replace('\n', ' '));
            }
        }
        writer.close();
    }

    static String found(IndexSearcher searcher, String[] words) throws Exception {
        BooleanQuery.Builder features = new BooleanQuery.Builder();
        for (int i = 3; i < words.length; i++) {
            String[] pair = words[i].split(":");
            float weight = Float.parseFloat(pair[1]);
            boolean boosted = words[0].equals("boosted");
            Query one = FeatureField.newLinearQuery(FIELD, pair[0], boosted ? 1f : weight);
            features.add(boosted ? new BoostQuery(one, weight) : one, BooleanClause.Occur.SHOULD);
        }
        features.setMinimumNumberShouldMatch(1);
        BooleanQuery.Builder query = new BooleanQuery.Builder();
        query.add(features.build(), BooleanClause.Occur.MUST);
        if (!words[2].equals("-")) {
            List<BytesRef> only = new ArrayList<>();
            for (String id : words[2].split(",")) {
                only.add(new BytesRef(id));
            }
            query.add(new TermInSetQuery("id", only), BooleanClause.Occur.FILTER);
        }
        StringBuilder answer = new StringBuilder();
        for (ScoreDoc hit : searcher.search(query.build(), Integer.parseInt(words[1])).scoreDocs) {
            answer.append(' ').append(searcher.doc(hit.doc).get("id")).append(':').append(hit.score);
        }
        return answer.toString();
    }
}
