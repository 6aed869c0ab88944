# Two machines and a broker, for a longer time and with more subscribers

ring_needs() {
    has redis-server || want redis-server
    PATH=$PATH:/usr/sbin has nats-server || want nats-server
    PATH=$PATH:/usr/sbin:/sbin has ip || want iproute2
}

# cluster_run SUBSCRIBERS MESSAGES RATE: runs the cluster test with Redis and with NATS.
cluster_run() {
    CLUSTER_SUBSCRIBERS=$1 CLUSTER_MESSAGES=$2 CLUSTER_RATE=$3 \
        tap "two machines, $1 subscribers, $2 messages" 1800 "$PHP" tests/php/cluster.test.php
}

ring_run() {
    step "load generator" 300 cargo build --release --locked --quiet --manifest-path bench/Cargo.toml -p wsload
    cluster_run 10 60000 3000
    cluster_run 300 9000 300
}
