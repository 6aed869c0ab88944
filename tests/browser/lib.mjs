// Shared code of the browser tests: reporting, PHP servers in separate processes, and a browser.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Timeout of each wait, in milliseconds. */
export const PATIENCE = 20_000;

let failed = 0;

/** Runs one test, and prints `ok - name` or `not ok - name - reason`. */
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

/** Functions that stop servers and browsers, including those that a failed test has left. */
const running = new Set();

/** Stops what still runs, and sets the exit status; call it at the end. */
export async function finish() {
  process.exitCode = failed ? 1 : 0;
  await Promise.all([...running].map((stop) => stop()));
}

/** Awaits `promise`, and rejects after the timeout. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `holds` returns a truthy value. */
export async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!await holds()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** Starts a PHP script of the project; resolves when it prints a line that matches `ready`. */
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
  const kill = () => child.kill('SIGKILL');
  running.add(kill);
  child.on('exit', () => running.delete(kill));
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
    kill();
    throw error;
  }
}

/** Starts the echo server of the driver tests on wss://127.0.0.1. */
export async function echo(tls, options = {}, more = {}) {
  const settings = { listen: 'wss://127.0.0.1:0', options: { tls, ...options }, ...more };
  return php('tests/php/servers/echo.php', [JSON.stringify(settings)], /wss:\/\/(\S+)/);
}

/** A certificate authority made with openssl in a temporary folder, which is removed on exit. */
export class Authority {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'sprocket-wss-'));
    process.on('exit', () => rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 }));
    this.ca = join(this.folder, 'ca.pem');
    this.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
      '-keyout', join(this.folder, 'ca.key'), '-out', this.ca, '-subj', '/CN=Sprocket test CA',
      '-addext', 'keyUsage=critical,keyCertSign');
  }

  openssl(...args) {
    return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  }

  /** A certificate for these names, as arguments of Sprocket\\Tls; `dates` are arguments of `openssl ca`. */
  issue(name, names, dates = ['-days', '30']) {
    const at = (ending) => join(this.folder, `${name}.${ending}`);
    writeFileSync(at('conf'), ['[ca]', 'default_ca = test', '[test]', `database = ${at('index')}`,
      `serial = ${at('serial')}`, `new_certs_dir = ${this.folder}`, 'default_md = sha256', 'policy = any',
      'x509_extensions = ext', '[any]', 'commonName = supplied', '[ext]', `subjectAltName = ${names}`, ''].join('\n'));
    writeFileSync(at('index'), '');
    writeFileSync(at('serial'), `01${Math.random().toString(16).slice(2, 10).padEnd(8, '0')}`);
    this.openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
      '-keyout', at('key'), '-out', at('csr'), '-subj', `/CN=${name}`);
    this.openssl('ca', '-batch', '-notext', '-config', at('conf'), '-cert', this.ca,
      '-keyfile', join(this.folder, 'ca.key'), '-in', at('csr'), '-out', at('pem'), ...dates);
    return { certificate: at('pem'), key: at('key') };
  }

  /** A home directory for a browser that trusts this authority. */
  home() {
    const store = join(this.folder, 'home/.pki/nssdb');
    mkdirSync(store, { recursive: true });
    const certutil = (...args) => execFileSync('certutil', ['-d', `sql:${store}`, ...args], { stdio: 'ignore' });
    certutil('-N', '--empty-password');
    certutil('-A', '-n', 'Sprocket test CA', '-t', 'C,,', '-i', this.ca);
    return join(this.folder, 'home');
  }
}

/** Serves a page of another origin. */
export async function foreignPage() {
  const server = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>Elsewhere</title>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Launches Chromium with a profile of its own, and with the given home directory. */
export async function launch(home) {
  const browser = await chromium.launch({
    env: home ? { ...process.env, HOME: home } : process.env,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
  running.add(() => browser.close());
  return browser;
}
