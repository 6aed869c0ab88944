//! `Server::stats()`.

use ext_php_rs::boxed::ZBox;
use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_core::bus::HUB;
use sprocket_core::{Server as Core, Stats};

use crate::server::Server;
use crate::zend::{Call, Result, map_insert};

pub(crate) fn stats(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let mut table = ZendHashTable::new();
    match (server.role.get(), server.link.with(Core::node_stats)) {
        (Some(role), Some(node)) => {
            let mut sum = Stats::default();
            let mut workers = ZendHashTable::new();
            for (slot, stats) in node {
                sum.add(&stats);
                if slot == HUB {
                    continue;
                }
                let mut one = ZendHashTable::new();
                put(&mut one, "worker", i64::from(slot) + 1);
                put_counters(&mut one, &stats);
                // Fails only when an index overflows.
                let _ = workers.push(one);
            }
            put_counters(&mut table, &sum);
            put(&mut table, "worker", i64::from(role.number()));
            let mut list = Zval::new();
            list.set_hashtable(workers);
            map_insert(&mut table, b"workers", list);
        }
        (_, _) => {
            let stats = server.link.with(Core::stats).or_else(|| server.stats.borrow().clone());
            stats.iter().for_each(|stats| put_counters(&mut table, stats));
        }
    }
    let mut array = Zval::new();
    array.set_hashtable(table);
    Ok(array)
}

fn put(table: &mut ZBox<ZendHashTable>, name: &str, n: i64) {
    let mut value = Zval::new();
    value.set_long(n);
    map_insert(table, name.as_bytes(), value);
}

fn put_counters(table: &mut ZBox<ZendHashTable>, stats: &Stats) {
    for (name, n) in stats.iter() {
        put(table, &camel_case(name), i64::try_from(n).unwrap_or(i64::MAX));
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (head, tail) = word.split_at(1.min(word.len()));
        out.push_str(&head.to_ascii_uppercase());
        out.push_str(tail);
    }
    out
}
