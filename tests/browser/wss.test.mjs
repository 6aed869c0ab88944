// wss:// in a real browser: over HTTP/2 and HTTP/1.1, compressed, and with certificates that it must refuse.

import assert from 'node:assert/strict';
import { Authority, echo, finish, launch, test } from './lib.mjs';

const TIMEOUT = 15_000;
const authority = new Authority();
const good = authority.issue('localhost', 'DNS:localhost,IP:127.0.0.1');
const browser = await launch(authority.home());
const servers = [];

async function serve(tls, options, more) {
  const server = await echo(tls, options, more);
  servers.push(server);
  return server;
}

/** Opens a page that the server itself serves. */
async function visit(server) {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT);
  const response = await page.goto(`https://${server.url}/`);
  assert.equal(response.status(), 200);
  return page;
}

/** Opens a WebSocket in the page, sends the messages one by one, and returns the answers and the close. */
function talk(page, url, messages) {
  return page.evaluate(([address, list]) => new Promise((resolve) => {
    const socket = new WebSocket(address);
    const got = [];
    let next = 0;
    const say = () => (next < list.length ? socket.send(list[next++]) : socket.close(4001, 'enough'));
    socket.onopen = say;
    socket.onmessage = (event) => { got.push(event.data); say(); };
    socket.onclose = (event) => resolve(
      { got, code: event.code, reason: event.reason, clean: event.wasClean, extensions: socket.extensions });
  }), [url, messages]);
}

for (const [http2, version, method] of [[true, '2', 'CONNECT'], [false, '1.1', 'GET']]) {
  await test(`a page can open a WebSocket over HTTP/${version}`, async () => {
    const server = await serve({ ...good, http2 }, { compression: true }, { upgrade: true });
    const page = await visit(server);
    const large = 'Größe 😀 '.repeat(20_000);
    const { got, ...rest } = await talk(page, `wss://${server.url}/chat?room=1`, ['who', large, '']);
    assert.deepEqual(rest, {
      code: 4001, reason: 'enough', clean: true,
      extensions: 'permessage-deflate; server_no_context_takeover; client_no_context_takeover',
    });
    const who = JSON.parse(got[0]);
    assert.deepEqual([who.version, who.method, who.host, who.scheme, who.secure, who.address],
      [version, method, server.url, 'wss', true, '127.0.0.1']);
    assert.ok(got[1] === large && got[2] === '', 'the echoes');
    await page.close();
  });
}

await test('all WebSockets of a page share one connection', async () => {
  const server = await serve(good);
  const page = await visit(server);
  const answers = await Promise.all([1, 2, 3, 4, 5].map((n) => talk(page, `wss://${server.url}/`, [`${n}`])));
  assert.deepEqual(answers.map(({ got }) => got[0]), ['1', '2', '3', '4', '5']);
  const stats = await page.evaluate(() => fetch('/stats').then((response) => response.json()));
  assert.equal(stats.opened, 5);
  assert.ok(stats.accepted < 5, `${stats.accepted} connections`);
  await page.close();
});

await test('a page of another origin is refused over HTTP/2 as well', async () => {
  const [server, other] = [await serve(good), await serve(good)];
  const page = await visit(other);
  await page.evaluate((url) => fetch(url, { mode: 'no-cors' }), `https://${server.url}/`);
  assert.equal((await talk(page, `wss://${server.url}/`, [])).code, 1006);
  const own = await visit(server);
  const stats = await own.evaluate(() => fetch('/stats').then((response) => response.json()));
  assert.equal(stats.refusedOrigin, 1);
  await Promise.all([page.close(), own.close()]);
});

for (const [what, certificate, error] of [
  ['expired', authority.issue('expired', 'IP:127.0.0.1', ['-startdate', '20240101000000Z', '-enddate', '20240201000000Z']),
    'ERR_CERT_DATE_INVALID'],
  ['for another host', authority.issue('other.example', 'DNS:other.example'), 'ERR_CERT_COMMON_NAME_INVALID'],
]) {
  await test(`a certificate that is ${what} is refused by the browser`, async () => {
    const server = await serve(certificate);
    const page = await visit(servers[0]);
    const logged = page.waitForEvent('console', (message) => message.text().includes('WebSocket connection to'));
    const { code, clean } = await talk(page, `wss://${server.url}/`, ['hello']);
    assert.deepEqual([code, clean], [1006, false]);
    const text = (await logged).text();
    assert.ok(text.includes(error), text);
    await page.close();
  });
}

await browser.close();
await test('the servers stop with exit status 0', async () => {
  assert.deepEqual(await Promise.all(servers.map((server) => server.stop())), servers.map(() => 0));
});
await finish();
