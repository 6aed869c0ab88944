//! `Server::stats()`.

use ext_php_rs::boxed::ZBox;
use ext_php_rs::types::{ZendHashTable, Zval};
use sprocket_server::cluster::HUB;
use sprocket_server::{Server as Core, Stats};

use crate::server::{self, Server};
use crate::zend::{Call, Result, map_insert};

pub(crate) fn stats(call: &Call) -> Result<Zval> {
    call.arity(0, 0)?;
    let server = call.this::<Server>();
    let table = match (server.role.get(), server.link.with(Core::node_stats)) {
        (Some(role), Some(node)) => {
            let mut sum = Stats::default();
            let mut workers = ZendHashTable::new();
            for (slot, stats) in node {
                sum.add(&stats);
                if slot == HUB {
                    continue;
                }
                let mut one = readings(&stats);
                map_insert(&mut one, b"worker", int(u64::from(slot) + 1));
                // Fails only when an index overflows.
                let _ = workers.push(one);
            }
            let mut table = readings(&sum);
            map_insert(&mut table, b"worker", int(u64::from(role.number())));
            map_insert(&mut table, b"workers", table_value(workers));
            table
        }
        (_, _) => {
            let stats = server.link.with(server::counted).or_else(|| server.stats.borrow().clone());
            stats.as_ref().map_or_else(ZendHashTable::new, readings)
        }
    };
    Ok(table_value(table))
}

/// The counters as an array of PHP.
fn readings(stats: &Stats) -> ZBox<ZendHashTable> {
    let mut table = ZendHashTable::new();
    let mut closes = ZendHashTable::new();
    for (code, n) in &stats.closes {
        // Fails only when an index overflows.
        let _ = closes.insert_at_index(i64::from(*code), int(*n));
    }
    let mut callbacks = ZendHashTable::new();
    for (handler, time) in stats.handlers.iter() {
        let mut times = ZendHashTable::new();
        let mut seconds = Zval::new();
        seconds.set_double(time.seconds());
        map_insert(&mut times, b"calls", int(time.calls()));
        map_insert(&mut times, b"seconds", seconds);
        map_insert(&mut callbacks, handler.name().as_bytes(), table_value(times));
    }
    for (name, n) in stats.iter() {
        map_insert(&mut table, camel_case(name).as_bytes(), int(n));
    }
    map_insert(&mut table, b"closes", table_value(closes));
    map_insert(&mut table, b"callbacks", table_value(callbacks));
    table
}

fn int(n: u64) -> Zval {
    let mut value = Zval::new();
    value.set_long(i64::try_from(n).unwrap_or(i64::MAX));
    value
}

fn table_value(table: ZBox<ZendHashTable>) -> Zval {
    let mut value = Zval::new();
    value.set_hashtable(table);
    value
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
