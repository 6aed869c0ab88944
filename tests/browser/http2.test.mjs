// HTTP/2 at stream level with Node's client: requests, WebSockets by extended CONNECT (RFC 8441), limits,
// and misbehaving peers.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { connect as tcpConnect, createServer as tcpServer } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { Authority, echo, finish, soon, test, until } from './lib.mjs';

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM } = http2.constants;
const authority = new Authority();
const tls = authority.issue('localhost', 'DNS:localhost,IP:127.0.0.1');
const ca = readFileSync(authority.ca);
const servers = [];

async function serve(options, more, settings = {}) {
  const server = await echo({ ...tls, ...settings }, options, more);
  servers.push(server);
  return server;
}

/** Connects, and waits for the server's SETTINGS. */
async function session(server, options = {}) {
  const client = http2.connect(`https://${server.url}`, { ca, ...options });
  client.on('error', () => {});
  await soon(once(client, 'remoteSettings'), 'settings');
  return client;
}

async function request(client, headers, body) {
  const stream = client.request(headers, { endStream: body === undefined });
  stream.on('error', () => {});
  if (body !== undefined) stream.end(body);
  const [head] = await soon(once(stream, 'response'), 'a response');
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  await soon(once(stream, 'close'), 'the end of a response');
  return { status: head[':status'], head, body: Buffer.concat(chunks).toString() };
}

const stats = async (client) => JSON.parse((await request(client, { ':path': '/stats' })).body);

function frame(first, payload) {
  const bytes = Buffer.from(payload);
  const mask = Buffer.from([1, 2, 3, 4]);
  const head = bytes.length < 126 ? Buffer.from([first, 0x80 | bytes.length])
    : bytes.length < 65536 ? Buffer.from([first, 0xfe, bytes.length >> 8, bytes.length & 255])
      : Buffer.concat([Buffer.from([first, 0xff, 0, 0, 0, 0]), Buffer.alloc(4)]);
  if (bytes.length >= 65536) head.writeUInt32BE(bytes.length, 6);
  return Buffer.concat([head, mask, bytes.map((byte, i) => byte ^ mask[i & 3])]);
}

const HANDSHAKE = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', 'sec-websocket-version': '13' };

/** A WebSocket on one HTTP/2 stream, with access to raw frames. */
class Socket {
  #bytes = Buffer.alloc(0);
  #news = () => {};

  constructor(client, headers = {}) {
    this.stream = client.request({ ...HANDSHAKE, ...headers }, { endStream: false });
    this.stream.on('error', () => {});
    this.closed = once(this.stream, 'close');
    this.response = once(this.stream, 'response').then(([head]) => head);
    this.response.catch(() => {});
    this.ended = false;
    const end = () => { this.ended = true; this.#news(); };
    this.stream.on('end', end).on('close', end);
  }

  async open() {
    const head = await soon(this.response, 'the answer to the handshake');
    assert.equal(head[':status'], 200);
    this.head = head;
    this.read();
    return this;
  }

  read() {
    this.stream.on('data', (chunk) => { this.#bytes = Buffer.concat([this.#bytes, chunk]); this.#news(); });
  }

  send(text, first = 0x81) {
    this.stream.write(frame(first, text));
    return this;
  }

  /** The next frame, as its first byte and its payload; null at the end of the stream. */
  async frame() {
    for (;;) {
      const b = this.#bytes;
      if (b.length >= 2) {
        const short = b[1] & 127;
        const at = short === 126 ? 4 : short === 127 ? 10 : 2;
        if (b.length >= at) {
          const length = short === 126 ? b.readUInt16BE(2) : short === 127 ? Number(b.readBigUInt64BE(2)) : short;
          if (b.length >= at + length) {
            this.#bytes = b.subarray(at + length);
            return [b[0], b.subarray(at, at + length)];
          }
        }
      }
      if (this.ended) return null;
      await soon(new Promise((resolve) => { this.#news = resolve; }), 'a frame');
    }
  }

  async text() {
    const next = await this.frame();
    assert.equal(next?.[0], 0x81, 'a text message');
    return next[1].toString();
  }

  async close() {
    this.send(Buffer.from([3, 232]), 0x88);
    const next = await this.frame();
    assert.deepEqual([next[0], next[1].readUInt16BE()], [0x88, 1000]);
    this.stream.end();
    await soon(this.closed, 'the end of the stream');
  }
}

const server = await serve({ maxBodySize: 1000, subprotocols: ['chat'], sendBufferLimit: 1 << 20, handshakeTimeout: 5 },
  { upgrade: true });
const client = await session(server);

await test('the server announces extended CONNECT and its limit of streams', async () => {
  assert.equal(client.remoteSettings.enableConnectProtocol, true);
  assert.ok(client.remoteSettings.maxConcurrentStreams >= 100);
});

await test('a WebSocket opens, echoes, answers pings and closes', async () => {
  const socket = await new Socket(client, { 'sec-websocket-protocol': 'chat, other', origin: `https://${server.url}` }).open();
  assert.equal(socket.head['sec-websocket-protocol'], 'chat');
  for (const name of ['connection', 'upgrade', 'sec-websocket-accept', 'content-length']) {
    assert.equal(socket.head[name], undefined, name);
  }
  const who = JSON.parse(await socket.send('who').text());
  assert.deepEqual([who.method, who.version, who.host, who.scheme], ['CONNECT', '2', server.url, 'wss']);
  assert.deepEqual(await socket.send('beat', 0x89).frame(), [0x8a, Buffer.from('beat')]);
  const large = 'x'.repeat(900_000);
  assert.ok(await socket.send(large).text() === large, 'a large message');
  await socket.close();
});

await test('a WebSocket protocol error ends the stream, not the connection', async () => {
  const [bad, good] = await Promise.all([new Socket(client).open(), new Socket(client).open()]);
  bad.stream.write(Buffer.from([0x81, 0x01, 0x61])); // not masked
  const next = await bad.frame();
  assert.deepEqual([next[0], next[1].readUInt16BE()], [0x88, 1002]);
  assert.equal(await bad.frame(), null);
  bad.stream.end();
  await soon(bad.closed, 'the end of the stream');
  assert.equal(await good.send('still here').text(), 'still here');
  await good.close();
});

await test('refused handshakes have the right status', async () => {
  for (const [headers, status] of [
    [{ ...HANDSHAKE, 'sec-websocket-version': '8' }, 426],
    [{ ...HANDSHAKE, ':protocol': 'connect-udp' }, 501],
    [{ ...HANDSHAKE, origin: 'https://evil.example' }, 403],
    [{ ...HANDSHAKE, 'sec-websocket-extensions': '=' }, 200], // no extension is negotiated on this server
    [{ ':method': 'CONNECT', ':authority': server.url }, 405],
  ]) {
    const stream = client.request(headers, { endStream: false });
    stream.on('error', () => {});
    const [head] = await soon(once(stream, 'response'), 'a response');
    assert.equal(head[':status'], status, JSON.stringify(headers));
    stream.close(NGHTTP2_CANCEL);
  }
});

await test('GET, HEAD and POST requests are answered, and an oversized body is refused', async () => {
  const got = await Promise.all([
    request(client, { ':path': '/' }),
    request(client, { ':path': '/', ':method': 'HEAD' }),
    request(client, { ':path': '/', ':method': 'POST' }, 'x'.repeat(1000)),
    request(client, { ':path': '/', ':method': 'POST' }, 'x'.repeat(1001)),
    request(client, { ':path': '/large' }),
  ]);
  assert.deepEqual(got.map(({ status }) => status), [200, 200, 200, 413, 200]);
  assert.deepEqual([got[0].body, got[1].body, got[1].head['content-length']], ['hello\n', '', '6']);
  assert.equal(got[4].body.length, 20_000_000);
  assert.match(got[0].head.date, /GMT$/);
  assert.equal(got[3].head.connection, undefined);
});

await test('a malformed host, and two different hosts, are refused with 400', async () => {
  for (const headers of [
    { ':authority': server.url, host: 'evil.example' },
    { ':authority': server.url, host: `${server.url}1` },
    { ':authority': `user@${server.url}` },
    { ':authority': server.url, host: 'a b' },
    { ...HANDSHAKE, origin: 'https://a/b' },
  ]) {
    const { status, body } = await request(client, { ':path': '/', ...headers });
    assert.equal(status, 400, JSON.stringify(headers));
    assert.ok(body.length > 10, 'the body explains the error');
  }
});

await test('a host given twice with the same value is accepted', async () => {
  const { status } = await request(client, { ':path': '/', ':authority': 'LOCALHOST:443', host: 'localhost' });
  assert.equal(status, 200);
});

await test('hop-by-hop headers are removed from responses, even from a 426', async () => {
  const { status, head } = await request(client, { ':path': '/connection' });
  assert.equal(status, 426);
  for (const name of ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade']) {
    assert.equal(head[name], undefined, name);
  }
  assert.equal(head['x-other'], 'stays');
});

await test('more than 100 headers are accepted, and more than 1,024 are refused', async () => {
  const many = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, '']));
  assert.equal((await request(client, { ':path': '/', ...many(300) })).status, 200);
  const roomy = await serve({ maxHeaderSize: 1 << 20 });
  const other = await session(roomy);
  assert.equal((await request(other, { ':path': '/', ...many(1000) })).status, 200);
  assert.equal((await request(other, { ':path': '/', ...many(1100) })).status, 431);
  other.close();
});

await test('a stream reset by the client is reported as an abnormal close', async () => {
  const socket = await new Socket(client).open();
  await socket.send('hello').text();
  const before = server.output().split('1006').length;
  socket.stream.close(NGHTTP2_CANCEL);
  await until('onClose', () => server.output().split('1006').length > before);
  assert.match(server.output().split('\n').filter((line) => line.includes(' 1006 ')).at(-1),
    // Node ends its sending direction before it resets the stream.
    /^close \d+ 1006 (connection lost: the peer has cancelled the stream|the peer went away without a close frame)$/);
});

await test('a client that does not read is closed with 1013, and delays no other stream', async () => {
  const [slow, other] = [new Socket(client), await new Socket(client).open()];
  await soon(slow.response, 'the answer');
  slow.stream.pause();
  slow.send('flood 64 65536');
  await until('1013', () => /close \d+ 1013/.test(server.output()));
  assert.equal(await other.send('in between').text(), 'in between');
  await other.close();
  slow.stream.close(NGHTTP2_CANCEL);
});

await test('each WebSocket counts toward the limits', async () => {
  const limited = await serve({ maxConnectionsPerIp: 2 });
  const one = await session(limited);
  const sockets = await Promise.all([new Socket(one).open(), new Socket(one).open()]);
  assert.equal((await soon(new Socket(one).response, 'an answer'))[':status'], 429);
  await sockets[0].close();
  await until('a free slot', async () => (await stats(one)).connections === 1);
  await new Socket(one).open();
  assert.deepEqual((({ accepted, opened, refusedPerIp }) => [accepted, opened, refusedPerIp])(await stats(one)), [1, 3, 1]);
  one.destroy();
});

/** Opens a TLS connection with ALPN, sends raw bytes, and collects the answer. */
async function raw(to, bytes, protocols = ['h2']) {
  const [host, port] = to.url.split(':');
  const socket = tlsConnect({ host, port, ca, ALPNProtocols: protocols });
  socket.on('error', () => {});
  await soon(once(socket, 'secureConnect'), 'TLS');
  if (bytes) socket.write(bytes);
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  return { socket, protocol: socket.alpnProtocol, got: () => Buffer.concat(chunks), end: once(socket, 'close') };
}

/** Builds one HTTP/2 frame. */
function rawFrame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), rawFrame(4, 0, 0)]);

/** The complete HTTP/2 frames in these bytes. */
function* frames(bytes) {
  for (let at = 0; at + 9 <= bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) return;
    yield { type: bytes[at + 3], flags: bytes[at + 4], stream: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) };
    at = end;
  }
}

const [HEADERS, RST_STREAM, PING, GOAWAY] = [1, 3, 6, 7];
const count = (bytes, type, holds = () => true) => [...frames(bytes)].filter((f) => f.type === type && holds(f)).length;

/** Header fields as literals without indexing (RFC 7541 section 6.2.2). */
function fields(all) {
  const text = (value) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat(Object.entries(all).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

await test('a client that keeps opening and resetting streams is cut off', async () => {
  // PHP is busy, so the requests are unanswered when the client resets their streams.
  const socket = await new Socket(client).open();
  socket.send('sleep 1');
  const rude = await raw(server, PREFACE);
  const head = fields({ ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': 'a' });
  let turn = 0;
  while (count(rude.got(), GOAWAY) === 0 && turn < 40) {
    const streams = Array.from({ length: 10 }, (_, i) => 1 + 2 * (10 * turn + i));
    for (const stream of streams) rude.socket.write(rawFrame(HEADERS, 5, stream, head));
    rude.socket.write(rawFrame(PING, 0, 0, Buffer.alloc(8)));
    turn++;
    // The pong shows that the server has begun to handle these requests.
    await until('a pong', () => count(rude.got(), PING) === turn || count(rude.got(), GOAWAY) === 1);
    for (const stream of streams) rude.socket.write(rawFrame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8])));
  }
  const last = [...frames(rude.got())].find(({ type }) => type === GOAWAY);
  assert.equal(last?.payload.readUInt32BE(4), NGHTTP2_ENHANCE_YOUR_CALM);
  rude.socket.destroy();
  assert.equal(await socket.send('alive').text(), 'alive');
  await socket.close();
});

await test('many small frames wait while PHP is busy, and none is lost', async () => {
  const busy = await new Socket(client).open();
  busy.send('sleep 1');
  const { socket, got } = await raw(server, PREFACE);
  const head = fields({ ':scheme': 'https', ':authority': 'a', ...HANDSHAKE });
  const opened = () => count(got(), HEADERS);
  const each = 8000; // fits the flow-control windows of both sides
  const flood = Buffer.concat(Array.from({ length: each }, () => frame(0x81, '')));
  const streams = [1, 3, 5, 7];
  for (const stream of streams) socket.write(rawFrame(HEADERS, 4, stream, head));
  await until('all streams are open', () => opened() === streams.length);
  busy.send('sleep 1');
  for (const stream of streams) {
    const pieces = [];
    for (let at = 0; at < flood.length; at += 6) pieces.push(rawFrame(0, 0, stream, flood.subarray(at, at + 6)));
    socket.write(Buffer.concat(pieces));
  }
  const whole = () => {
    const echoed = new Map(streams.map((stream) => [stream, 0]));
    for (const { type, stream, payload } of frames(got())) if (type === 0) echoed.set(stream, echoed.get(stream) + payload.length);
    return [...echoed.values()].every((bytes) => bytes === 2 * each);
  };
  // The echoes fit the client's window, so the server needs no WINDOW_UPDATE to continue.
  await until('all messages are echoed', () => count(got(), GOAWAY) > 0 || whole());
  assert.equal(count(got(), GOAWAY), 0, 'the connection was ended');
  socket.destroy();
  await busy.close();
});

await test('hostile bytes instead of frames end the connection', async () => {
  const impatient = await serve({ handshakeTimeout: 0.5 });
  const all = await Promise.all([
    raw(impatient), // no bytes
    raw(impatient, PREFACE.subarray(0, 10)), // half of the preface
    raw(impatient, PREFACE), // the preface, and no request
    raw(impatient, Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')),
    raw(impatient, Buffer.concat([PREFACE, Buffer.alloc(2000, 0xff)])),
    raw(impatient, Buffer.concat([PREFACE, rawFrame(1, 5, 4, Buffer.from([0x82]))])), // a stream id that belongs to the server
    raw(impatient, Buffer.concat([PREFACE, rawFrame(9, 4, 1)])), // CONTINUATION without HEADERS
  ]);
  assert.ok(all.every(({ protocol }) => protocol === 'h2'));
  await soon(Promise.all(all.map(({ end }) => end)), 'the end of each');
  const healthy = await session(impatient);
  const { handshakeTimeouts, badRequests } = await stats(healthy);
  assert.deepEqual([handshakeTimeouts, badRequests], [2, 4]);
  healthy.destroy();
});

await test('an oversized header block ends its stream, not the connection', async () => {
  const { socket, got } = await raw(server, PREFACE);
  const head = fields({ ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': 'a' });
  // Each field adds 32 bytes to its own size toward the limit of 16 KiB (RFC 9113 section 6.5.2).
  const many = Buffer.concat(Array.from({ length: 600 }, () => fields({ a: 'b' })));
  socket.write(rawFrame(HEADERS, 5, 1, Buffer.concat([head, many])));
  socket.write(rawFrame(HEADERS, 5, 3, head));
  await until('an answer to the second request', () => count(got(), HEADERS, ({ stream }) => stream === 3) === 1);
  const first = [...frames(got())].filter(({ stream }) => stream === 1);
  assert.ok(first.some(({ type, flags }) => type === RST_STREAM || (type === HEADERS && flags & 1)), 'the first stream has ended');
  assert.equal(first.filter(({ type }) => type === 0).length, 0, 'no response from PHP');
  socket.destroy();
});

await test('the server speaks HTTP/1.1 with clients that ask for it, and with all clients if HTTP/2 is off', async () => {
  const without = await serve({}, {}, { http2: false });
  const head = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
  for (const [to, protocols] of [[server, ['http/1.1']], [without, ['h2', 'http/1.1']]]) {
    const { protocol, got, end } = await raw(to, head, protocols);
    await soon(end, 'the end');
    assert.equal(protocol, 'http/1.1');
    assert.match(got().toString(), /^HTTP\/1\.1 200 OK/);
  }
});

await test('a stopping server closes each WebSocket with 1001, and sends GOAWAY', async () => {
  const sockets = await Promise.all([1, 2, 3].map(() => new Socket(client).open()));
  const goaway = once(client, 'goaway');
  const stopping = server.stop();
  for (const socket of sockets) {
    const next = await socket.frame();
    assert.deepEqual([next[0], next[1].readUInt16BE()], [0x88, 1001]);
    socket.send(Buffer.from([3, 233]), 0x88);
    socket.stream.end();
  }
  await soon(goaway, 'GOAWAY');
  assert.equal(await soon(stopping, 'the exit'), 0);
});

/** A TCP proxy that passes at most `rate` bytes a second to the client. */
async function slowLink(to, rate) {
  const [host, port] = to.url.split(':');
  const link = tcpServer((near) => {
    const far = tcpConnect(port, host);
    const cut = () => { near.destroy(); far.destroy(); };
    near.pipe(far);
    far.on('data', (chunk) => {
      near.write(chunk);
      far.pause();
      setTimeout(() => far.resume(), 1000 * chunk.length / rate);
    });
    for (const side of [near, far]) side.on('error', cut).on('close', cut);
  });
  link.listen(0, '127.0.0.1');
  await once(link, 'listening');
  return { url: `127.0.0.1:${link.address().port}`, close: () => link.close() };
}

await test('over a slow link, all messages before a close and the whole response arrive', async () => {
  const times = { closeTimeout: 0.4, handshakeTimeout: 0.8, sendBufferLimit: 16 << 20 };
  const patient = await serve({ ...times, origins: ['*'] });
  const link = await slowLink(patient, 2e6);
  // The HTTP/2 windows are so large that only the sockets limit the transfer.
  const far = await session(link, { settings: { initialWindowSize: 16 << 20 } });
  far.setLocalWindowSize(16 << 20);
  const socket = new Socket(far);
  await soon(socket.response, 'the answer to the handshake');
  let [bytes, tail] = [0, Buffer.alloc(0)];
  const closed = new Promise((resolve) => {
    socket.stream.on('data', (chunk) => {
      bytes += chunk.length;
      tail = Buffer.concat([tail, chunk]).subarray(-8);
      if (tail.toString('latin1') === '\x88\x06\x0f\xa0done') resolve();
    });
  });
  socket.send('flood 60 100000').send('close 4000 done');
  await soon(closed, 'the close frame');
  assert.ok(bytes > 6_000_000, `${bytes} bytes`);
  socket.send(Buffer.from([0x0f, 0xa0]), 0x88).stream.end();
  await soon(socket.closed, 'the end of the stream');
  await until('onClose', () => / 4000 /.test(patient.output()));
  const { status, body } = await request(far, { ':path': '/large?bytes=6000000' });
  assert.deepEqual([status, body.length], [200, 6_000_000]);
  far.destroy();
  link.close();
});

await test('the other servers stop with exit status 0', async () => {
  assert.deepEqual(await Promise.all(servers.map((each) => each.stop())), servers.map(() => 0));
});
await finish();
