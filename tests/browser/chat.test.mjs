// The chat example in a real browser.

import assert from 'node:assert/strict';
import { finish, foreignPage, launch, php, test } from './lib.mjs';

const TIMEOUT = 30_000;

let server = await php('examples/chat/server.php', ['127.0.0.1:0']);
const { url } = server;
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
context.setDefaultTimeout(TIMEOUT);

const complaints = []; // errors that the browser reports about the page
const elsewhere = []; // requests to other servers

async function open(name, options) {
  const page = options ? await (await browser.newContext(options)).newPage() : await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // The browser logs each failed WebSocket, even where the page expects the failure.
    if (message.type() === 'error' && !/WebSocket connection to/.test(message.text())) complaints.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) elsewhere.push(request.url());
  });
  await page.goto(url);
  if (name) {
    await page.fill('#name', name);
    await page.click('#join button');
    await online(page);
  }
  return page;
}

const online = (page) => page.waitForSelector('#state[data-state="online"]');
const say = async (page, words) => {
  await page.fill('#text', words);
  await page.press('#text', 'Enter');
};
const bubbles = (page) => page.$$eval('.bubble', (all) => all.map((bubble) => bubble.textContent));
const heard = (page, words) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll('.bubble')].some((bubble) => bubble.textContent === wanted), words);

const ada = await open('Ada');
const bob = await open('Bob');

await test('two tabs talk to each other', async () => {
  await say(ada, 'Hello Bob!');
  await heard(bob, 'Hello Bob!');
  await say(bob, 'Größe 😀 日本語');
  await heard(ada, 'Größe 😀 日本語');
  assert.deepEqual(await bubbles(ada), await bubbles(bob));
});

await test('messages carry a name and a time', async () => {
  const first = bob.locator('li.message').first();
  assert.equal(await first.locator('.by b').textContent(), 'Ada');
  const time = first.locator('time');
  assert.match(await time.textContent(), /^\d{1,2}:\d{2}/);
  const age = Date.now() - Date.parse(await time.getAttribute('datetime'));
  assert.ok(age >= -1000 && age < 60_000, `age ${age} ms`);
});

await test('every client gets the list of people present', async () => {
  await bob.waitForFunction(() => document.getElementById('people').textContent === '2 people');
  const eve = await open('Ada');
  await bob.waitForFunction(() => document.getElementById('people').textContent === '3 people');
  await bob.click('#people');
  assert.deepEqual(await bob.$$eval('#roster li', (all) => all.map((li) => li.textContent)), ['Ada', 'Bob (you)', 'Ada 2']);
  await eve.close();
  await bob.waitForFunction(() => document.getElementById('people').textContent === '2 people');
  await bob.click('#people');
});

await test('a late client sees the earlier messages', async () => {
  const late = await open('Late');
  await heard(late, 'Hello Bob!');
  await late.close();
});

await test('markup is shown as text and never runs', async () => {
  const evil = '<img src=x onerror="document.title=1"><script>document.title=1</script><b>&amp;';
  const mallory = await open('<i>Mallory</i>');
  await say(mallory, evil);
  await heard(bob, evil);
  assert.equal(await bob.locator('#log img, #log script, #log i, .bubble b').count(), 0);
  assert.equal(await bob.title(), 'Chat · Sprocket');
  await bob.waitForFunction(() => [...document.querySelectorAll('.by b')].some((b) => b.textContent === '<i>Mallory</i>'));
  await mallory.close();
});

await test('a page of another origin is refused with 403', async () => {
  const foreign = await foreignPage();
  const page = await context.newPage();
  const complaint = page.waitForEvent('console', (message) => /403/.test(message.text()));
  await page.goto(foreign.url);
  const outcome = await page.evaluate((address) => new Promise((resolve) => {
    const socket = new WebSocket(address);
    socket.onopen = () => resolve('opened');
    socket.onclose = () => resolve('refused');
  }), `${url.replace(/^http/, 'ws')}/chat`);
  assert.equal(outcome, 'refused');
  await complaint;
  await page.close();
  foreign.close();
});

await test('the page shows that the server is down, and reconnects when it is back', async () => {
  await ada.fill('#text', 'typed meanwhile');
  assert.equal(await server.stop(), 0, server.output());
  for (const page of [ada, bob]) {
    await page.waitForSelector('#state[data-state="waiting"], #state[data-state="connecting"]');
    assert.ok(await page.isDisabled('#send'));
  }
  server = await php('examples/chat/server.php', [new URL(url).host]);
  await Promise.all([online(ada), online(bob)]);
  assert.equal(await ada.inputValue('#text'), 'typed meanwhile');
  await ada.press('#text', 'Enter');
  await heard(bob, 'typed meanwhile');
  assert.equal((await bubbles(bob)).filter((words) => words === 'Hello Bob!').length, 1);
  await bob.waitForFunction(() => document.getElementById('people').textContent === '2 people');
});

await test('after a cut the page resumes without repeated messages', async () => {
  const before = await bubbles(bob);
  await server.stop('SIGKILL');
  await bob.waitForSelector('#state:not([data-state="online"])');
  server = await php('examples/chat/server.php', [new URL(url).host]);
  await Promise.all([online(ada), online(bob)]);
  await say(bob, 'again');
  await heard(ada, 'again');
  assert.deepEqual(await bubbles(bob), [...before, 'again']);
});

await test('a phone needs no horizontal scrolling', async () => {
  const phone = await open('Phone with a really long name here', {
    viewport: { width: 320, height: 568 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2,
  });
  await say(phone, `${'unbreakable'.repeat(30)} and https://example.com/${'path/'.repeat(30)}`);
  await phone.waitForFunction(() => document.querySelectorAll('.bubble').length > 0);
  const scrollable = await phone.evaluate(() => [...document.querySelectorAll('html, body, body *')]
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && !['visible', 'hidden', 'clip'].includes(getComputedStyle(e).overflowX))
    .map((e) => e.id || e.tagName).concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : []));
  assert.deepEqual(scrollable, []);
  const box = await phone.locator('#send').boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 320 && box.y + box.height <= 568, JSON.stringify(box));
  assert.ok(box.height >= 40, 'large enough for a thumb');
  if (process.env.SCREENSHOTS) await phone.screenshot({ path: `${process.env.SCREENSHOTS}/phone.png` });
  await phone.context().close();
});

await test('the page follows the colour scheme of the system', async () => {
  const background = () => bob.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await bob.emulateMedia({ colorScheme: 'light' });
  const light = await background();
  if (process.env.SCREENSHOTS) await bob.screenshot({ path: `${process.env.SCREENSHOTS}/light.png` });
  await bob.emulateMedia({ colorScheme: 'dark' });
  assert.notEqual(await background(), light);
  if (process.env.SCREENSHOTS) await bob.screenshot({ path: `${process.env.SCREENSHOTS}/dark.png` });
});

await test('a user who writes too fast is warned, and loses no message', async () => {
  const fast = await open('Fast');
  // Submits everything in one turn of the page's event loop, so that no answer comes in between. There are
  // more messages than the rate limiter's bucket can refill, even if a busy server reads them slowly.
  const all = Array.from({ length: 40 }, (_, i) => `number ${i + 1}`);
  await fast.evaluate((lines) => {
    for (const line of lines) {
      document.getElementById('text').value = line;
      document.getElementById('composer').requestSubmit();
    }
  }, all);
  await fast.waitForSelector('.note:has-text("a lot at once")');
  // Each message appears in the conversation, or back in the text field.
  await fast.waitForFunction((wanted) => {
    const shown = [...document.querySelectorAll('.bubble')].filter((bubble) => bubble.textContent.startsWith('number '));
    return shown.length + document.getElementById('text').value.split('\n').filter(Boolean).length >= wanted;
  }, all.length);
  const shown = (await bubbles(fast)).filter((words) => words.startsWith('number '));
  assert.ok(shown.length >= 10 && shown.length < all.length, `${shown.length} shown`);
  assert.equal(await fast.inputValue('#text'), all.filter((words) => !shown.includes(words)).join('\n'));
  await heard(bob, 'number 10');
  await fast.close();
});

await test('the browser reports no errors', async () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(elsewhere, []);
});

await browser.close();
await test('the server stops cleanly', async () => {
  assert.equal(await server.stop('SIGINT'), 0, server.output());
  assert.match(server.output(), /Stopped\./);
});
await finish();
