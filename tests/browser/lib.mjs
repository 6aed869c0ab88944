// What browser tests share: reporting, a PHP server in a process of its own, a browser.

import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let failed = 0;

/** Runs one test and prints `ok - name` or `not ok - name - why`. */
export async function test(name, body) {
  try {
    await body();
    console.log(`ok - ${name}`);
  } catch (error) {
    failed++;
    const why = String(error.message ?? error).replace(/\u001b\[\d+m/g, '').split('\n').slice(0, 4).join(' | ');
    console.log(`not ok - ${name} - ${why}`);
  }
}

/** To be called at the end: the exit status tells whether all tests passed. */
export function finish() {
  process.exitCode = failed ? 1 : 0;
}

/** A PHP script of the project; resolves when it has printed a line that matches `ready`. */
export async function php(script, args = [], ready = /(http:\/\/\S+)/) {
  const options = process.env.SPROCKET_SO ? ['-d', `extension=${process.env.SPROCKET_SO}`] : [];
  const child = spawn(process.env.PHP ?? 'php', [...options, `${ROOT}${script}`, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (bytes) => { output += bytes; });
  const found = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      output += `${line}\n`;
      const match = ready.exec(line);
      if (match) resolve(match[1]);
    });
    child.on('exit', (code, signal) => reject(new Error(`${script} ended with ${code ?? signal}: ${output}`)));
    setTimeout(() => reject(new Error(`${script} was not ready in 20 s: ${output}`)), 20_000).unref();
  });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  try {
    const url = await found;
    return {
      url,
      output: () => output,
      async stop(signal = 'SIGTERM') {
        if (child.exitCode === null && child.signalCode === null) child.kill(signal);
        const [code] = await exited;
        return code;
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** A page of another origin, on a port of its own. */
export async function foreignPage() {
  const server = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>Elsewhere</title>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Chromium with a profile of its own. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}
