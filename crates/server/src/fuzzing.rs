//! Entry points for the fuzz targets in `fuzz/`. Compiled only for them.

use http::{HeaderMap, HeaderValue};

use sprocket_protocol::forwarded::{Origin, TrustedProxies};
use sprocket_protocol::proxy_protocol::{Progress, parse};
use sprocket_protocol::publish::{self, MAX_ANSWER, Next, Refusal};
use sprocket_protocol::topic::check_topic;

/// Parses bytes that a node receives from a Redis server.
pub fn redis(data: &[u8]) {
    sprocket_broker::harness::redis(data);
}

/// Topics as subjects of NATS and the other way: a line is one.
pub fn subjects(data: &[u8]) {
    sprocket_broker::harness::subjects(data);
}

/// A message of a node, or of somebody else, as a broker passes it on.
pub fn envelope(data: &[u8]) {
    sprocket_broker::harness::envelope(data);
}

/// Frames between a worker and the hub. The first byte says how the stream is cut.
pub fn hub(data: &[u8]) {
    crate::cluster::harness::frames(data);
}

/// Processes presence messages that hubs exchange.
pub fn gossip(data: &[u8]) {
    crate::cluster::harness::gossip(data);
}

/// Parses the start of a connection to a listener of the PROXY protocol. A header must be found however
/// it is cut, and no byte behind it may be requested, because those belong to the client.
pub fn proxy_header(data: &[u8]) {
    let whole = parse(data);
    if let Progress::Complete(_, length) = whole {
        assert_eq!(parse(&data[..length]), whole, "what follows the header counts");
    }
    for cut in 0..data.len() {
        match parse(&data[..cut]) {
            Progress::Missing(more) => {
                assert!(more > 0, "nothing is missing after {cut} bytes");
                if let Progress::Complete(_, length) = whole {
                    assert!(cut + more <= length, "after {cut} of {length} bytes {more} are asked for");
                }
            }
            found => assert_eq!(found, whole, "after {cut} bytes"),
        }
    }
}

/// Requests on a publish socket. The first byte says how the stream is cut, which must not make a
/// difference; the second how much a payload may have.
pub fn publish(data: &[u8]) {
    let [how, limit, stream @ ..] = data else { return };
    let limit = usize::from(*limit);
    let whole = requests(std::iter::once(stream), limit);
    assert_eq!(requests(stream.chunks(1 + usize::from(*how)), limit), whole);
    for (topic, payload, binary) in whole.0 {
        let mut again = publish::header(topic.len(), payload.len(), binary).into_bytes();
        again.extend([&topic[..], &payload[..]].concat());
        let parsed = publish::parse(&again, limit);
        let request = publish::Request { topic: &topic, payload: &payload, binary };
        assert_eq!(parsed, Ok(Next::Request(request, again.len())));
        if let Some(Err(error)) = std::str::from_utf8(&topic).ok().map(check_topic) {
            one_line(&Refusal::Topic(error));
        }
    }
}

/// Topic, payload, and whether it is binary.
type ParsedPublication = (Vec<u8>, Vec<u8>, bool);

/// Parses publish requests that arrive in these pieces. Returns the publications, and the result of the
/// last step.
fn requests<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<ParsedPublication>, Result<usize, Refusal>) {
    /// Bytes of the longest request beside its payload.
    const HEADROOM: usize = 64 + 255;
    let (mut input, mut all) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match publish::parse(&input, limit) {
                Ok(Next::Incomplete(needed)) => {
                    assert!(needed == 0 || needed > input.len(), "{needed} bytes are there");
                    assert!(input.len().max(needed) <= HEADROOM + limit, "it waits for too much");
                    break;
                }
                Ok(Next::Request(request, used)) => {
                    all.push((request.topic.to_vec(), request.payload.to_vec(), request.binary));
                    input.drain(..used);
                }
                Err(refusal) => {
                    assert!(refusal.is_final());
                    one_line(&refusal);
                    input.extend_from_slice(b"\nPUBLISH text 1 1\nab");
                    assert_eq!(publish::parse(&input, limit), Err(refusal), "what has failed goes on");
                    return (all, publish::parse(&input, limit).map(|_| 0));
                }
            }
        }
    }
    (all, Ok(input.len()))
}

fn one_line(refusal: &Refusal) {
    let answer = refusal.answer();
    assert!(answer.starts_with("ERROR ") && answer.len() <= MAX_ANSWER);
    assert_eq!(answer.find('\n'), Some(answer.len() - 1), "{answer:?}");
}

/// Parses proxy headers with contents chosen by a client, to which a trusted proxy adds its own. The first
/// byte selects the case. The result must be the client that the proxy has seen, or the proxy itself.
pub fn forwarded(data: &[u8]) {
    let Some((how, told)) = data.split_first() else { return };
    let mut trusted = TrustedProxies::default();
    assert!(trusted.add("10.0.0.0/8"));
    let proxy = Origin { remote: "10.0.0.2:5".parse().ok(), secure: false };
    let seen = if how & 1 == 0 { "192.0.2.7:80" } else { "[2001:db8::1]:443" };
    let (name, added) = match (how & 2, how & 4) {
        (0, _) => ("x-forwarded-for", seen.to_owned()),
        (_, 0) => ("forwarded", format!("for=\"{seen}\";proto=https")),
        _ => ("forwarded", format!("by=\"[2001:db8::2]\";proto=https;for=\"{seen}\"")),
    };
    let mut headers = HeaderMap::new();
    let Ok(of_client) = HeaderValue::from_bytes(told) else { return };
    if how & 8 == 0 {
        // In a header of its own.
        headers.append(name, of_client);
        headers.append(name, HeaderValue::from_str(&added).expect("it is ASCII"));
    } else {
        let both = [told, b", ", added.as_bytes()].concat();
        headers.append(name, HeaderValue::from_bytes(&both).expect("so are both"));
    }
    let origin = trusted.origin(&headers, proxy);
    let truth = seen.parse().ok();
    assert!(origin.remote == truth || origin.remote == proxy.remote, "{:?} is believed", origin.remote);
    assert!(name != "x-forwarded-for" || !told.is_ascii() || origin.remote == truth, "the truth is not seen");
    // Headers of an untrusted peer are ignored.
    let stranger = Origin { remote: "192.0.2.9:5".parse().ok(), secure: false };
    assert_eq!(trusted.origin(&headers, stranger), stranger);
}
