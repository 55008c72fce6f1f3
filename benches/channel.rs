//! The road between source and target: what a batch costs on its way, with and without backpressure.

use criterion::{BenchmarkId, Criterion, Throughput};
use keyferry::flow::{Batch, channel};

/// Batches in one measurement.
const BATCHES: u64 = 1_000;
/// Bytes of one batch.
const BYTES: usize = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("pass batches on");
    group.throughput(Throughput::Elements(BATCHES));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Room for all that may wait, and for two at a time.
    for (name, room) in [("wide", 2 << 20), ("narrow", 2 * BYTES)] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| runtime.block_on(pass(room)));
        });
    }
    group.finish();
    criterion.final_summary();
}

async fn pass(room: usize) -> u64 {
    let (sender, mut receiver) = channel::bounded(room);
    let send = async move {
        for _ in 0..BATCHES {
            let mut batch = Batch::default();
            batch.keys.resize(BYTES, 0);
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    };
    let receive = async move {
        let mut received = 0;
        while let Some(batch) = receiver.next().await {
            received += 1;
            drop(batch);
        }
        received
    };
    tokio::join!(send, receive).1
}
