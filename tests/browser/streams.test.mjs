// Streamed responses: server-sent events in a real browser, and HTTP/2 with Node's client.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { Authority, finish, launch, PATIENCE, php, soon, test, until } from './lib.mjs';

const { NGHTTP2_CANCEL } = http2.constants;

// ---- The example of server-sent events, in Chromium

await test('a page receives the events of the server', async () => {
  const events = await php('examples/sse/server.php', ['127.0.0.1:0']);
  const address = new URL(events.url);
  const browser = await launch();
  const open = async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(address.href);
    await page.getByText('connected', { exact: true }).waitFor();
    return page;
  };
  const texts = (page) => page.locator('#events pre').allTextContents();
  const one = await open();
  await one.getByRole('textbox').fill('first');
  await one.getByRole('button').click();
  await one.getByText('first').waitFor();
  const two = await open();
  await two.getByText('first').waitFor();
  await fetch(new URL('/say', address), { method: 'POST', body: 'two lines,\nnot two fields' });
  for (const page of [one, two]) {
    await page.getByText('not two fields').waitFor();
    assert.deepEqual(await texts(page), ['two lines,\nnot two fields', 'first']);
  }
  assert.equal(await events.stop(), 0);
  await one.getByText('away', { exact: true }).waitFor();
  await browser.close();
});

await test('a client that has left gets no more events, and one that returns gets those it missed', async () => {
  const events = await php('examples/sse/server.php', ['127.0.0.1:0']);
  const say = (text) => fetch(new URL('/say', events.url), { method: 'POST', body: text });
  await say('one');
  await say('two');
  const follow = async (last) => {
    const abort = new AbortController();
    const response = await fetch(new URL('/events', events.url), { signal: abort.signal, headers: { 'Last-Event-ID': last } });
    assert.equal(response.headers.get('content-type'), 'text/event-stream');
    const reader = response.body.getReader();
    let got = '';
    return {
      async until(text) {
        while (!got.includes(text)) got += Buffer.from((await soon(reader.read(), text)).value).toString();
        return got;
      },
      leave: () => abort.abort(),
    };
  };
  const client = await follow('1');
  assert.equal(await client.until('two\n\n'), 'retry: 1000\n\nid: 2\ndata: two\n\n');
  client.leave();
  const next = await follow('2');
  await say('three');
  assert.equal(await next.until('three\n\n'), 'retry: 1000\n\nid: 3\ndata: three\n\n');
  next.leave();
  assert.equal(await events.stop(), 0);
});

// ---- HTTP/2

const authority = new Authority();
const tls = authority.issue('localhost', 'DNS:localhost,IP:127.0.0.1');
const ca = readFileSync(authority.ca);
const serve = (options) => php('tests/php/servers/streams.php',
  [JSON.stringify({ listen: 'wss://127.0.0.1:0', tls, options })], /wss:\/\/(\S+)/);
// On a busy machine a client may pause for longer than the default timeout.
const server = await serve({ handshakeTimeout: 60 });
function connect(to) {
  const session = http2.connect(`https://${to.url}`, { ca }).on('error', () => {});
  // An unread stream must not use up the connection's window.
  return session.on('connect', () => session.setLocalWindowSize(1 << 24));
}
let client = connect(server);

/** Sends a request, and waits for the head of the response. */
async function begin(path, headers = {}) {
  const stream = client.request({ ':path': path, ...headers });
  stream.on('error', () => {});
  const [head] = await soon(once(stream, 'response'), `the head of ${path}`);
  assert.equal(head[':status'], 200);
  return { stream, head, closed: once(stream, 'close') };
}

async function read({ stream, closed }) {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk)).resume();
  await soon(closed, 'the end of a response');
  return Buffer.concat(chunks).toString();
}

const get = async (path) => JSON.parse(await (async () => {
  const stream = client.request({ ':path': path });
  return read({ stream, closed: once(stream, 'close') });
})());
const closes = async (path) => (await get('/closes'))[path] ?? [];

await test('HTTP/2: all pieces and the end arrive', async () => {
  const hello = await begin('/hello');
  assert.deepEqual([hello.head['x-path'], hello.head['transfer-encoding'], hello.head['content-length']],
    ['/hello', undefined, undefined]);
  assert.equal(await read(hello), 'hello, world');
  assert.equal(hello.stream.rstCode, 0);
  assert.deepEqual(await closes('/hello'), [true]);
});

await test('HTTP/2: HEAD has no body', async () => {
  const before = (await closes('/open')).length;
  assert.equal(await read(await begin('/open', { ':method': 'HEAD' })), '');
  await until('onClose', async () => (await closes('/open')).length > before);
  assert.equal((await closes('/open')).at(-1), true);
});

await test('HTTP/2: a large body arrives while another stream is not read', async () => {
  const slow = await begin('/bytes?n=8000000');
  slow.stream.pause();
  assert.equal((await read(await begin('/bytes?n=20000000'))).length, 20_000_000);
  assert.equal((await read(slow)).length, 8_000_000);
  assert.deepEqual(await closes('/bytes'), [true, true]);
  const { waitingBytes } = await get('/stats');
  assert.equal(waitingBytes, 0);
});

await test('HTTP/2: onClose runs for a stream that the client resets', async () => {
  const before = (await closes('/open')).length;
  const open = await begin('/open');
  await soon(once(open.stream, 'data'), 'a piece');
  open.stream.close(NGHTTP2_CANCEL);
  await until('onClose', async () => (await closes('/open')).length > before);
  assert.equal((await closes('/open')).at(-1), false);
});

await test('HTTP/2: a cut response resets its stream', async () => {
  const cut = await begin('/cut');
  assert.equal(await read(cut), 'half of it');
  assert.equal(cut.stream.rstCode, NGHTTP2_CANCEL);
  assert.deepEqual(await closes('/cut'), [false]);
});

await test('HTTP/2: a client that does not read loses only that stream', async () => {
  const flood = await begin('/flood');
  flood.stream.pause();
  await until('onClose', async () => (await closes('/flood')).length === 1);
  assert.deepEqual(await closes('/flood'), [false]);
  const { streams, streamsSlow, waitingBytes } = await get('/stats');
  assert.deepEqual([streams, streamsSlow, waitingBytes], [0, 1, 0]);
  flood.stream.resume();
  await soon(flood.closed, 'the reset');
  assert.equal(flood.stream.rstCode, NGHTTP2_CANCEL);
});

await test('HTTP/2: a client that reads nothing for handshakeTimeout loses the stream', async () => {
  const impatient = await serve({ handshakeTimeout: 0.5 });
  const patient = client;
  client = connect(impatient);
  const idle = await begin('/bytes?n=8000000');
  idle.stream.pause();
  await until('onClose', async () => (await closes('/bytes')).length === 1);
  assert.deepEqual(await closes('/bytes'), [false]);
  idle.stream.resume();
  await soon(idle.closed, 'the reset');
  client.destroy();
  client = patient;
  assert.equal(await impatient.stop(), 0);
});

await test('HTTP/2: the end of a connection ends its streams', async () => {
  const before = (await closes('/open')).length;
  const other = connect(server);
  const open = other.request({ ':path': '/open' });
  open.on('error', () => {});
  await soon(once(open, 'data'), 'a piece');
  other.destroy();
  await until('onClose', async () => (await closes('/open')).length > before);
  assert.equal((await closes('/open')).at(-1), false);
});

client.destroy();
await test('the server stops with exit status 0', async () => assert.equal(await server.stop(), 0));
await finish();
