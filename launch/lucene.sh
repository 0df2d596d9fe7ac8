# Finds Lucene, which ranks what Elasticsearch and OpenSearch store, for benchmarks/lucene.py; sourced by test_engines.sh. Debian's package is installed, or downloaded beside the Python environment, which needs no root.
if [ -z "${COMPRESSAE_LUCENE:-}" ]; then
    jars() { find "$1" -type f -name 'lucene-core-*.jar' 2>/dev/null | sort | head -n 1 || true; }
    COMPRESSAE_LUCENE=$(jars /usr/share/java)
    lucene="$VIRTUAL_ENV/lucene"
    [ -n "$COMPRESSAE_LUCENE" ] || COMPRESSAE_LUCENE=$(jars "$lucene")
    if [ -z "$COMPRESSAE_LUCENE" ]; then
        echo "downloading Debian's liblucene8-java (35 MB) into $lucene"
        mkdir -p "$lucene"
        (cd "$lucene" && apt-get download -qq liblucene8-java && dpkg-deb --extract liblucene8-java_*.deb . && rm liblucene8-java_*.deb) ||
            { echo "liblucene8-java is needed: apt-get install liblucene8-java, or COMPRESSAE_LUCENE=…/lucene-core-8.….jar"; exit 1; }
        COMPRESSAE_LUCENE=$(jars "$lucene")
    fi
fi
command -v javac >/dev/null || { echo "javac is needed: apt-get install default-jdk-headless"; exit 1; }
export COMPRESSAE_LUCENE
