// Checks a WebSocket echo server with npm ws, a client that shares no code with the hub.
//
// usage: node client.js ws://host:port/path [--deflate] [--insecure] [--max=BYTES]
//   --deflate   the server must accept permessage-deflate
//   --insecure  the server's certificate is not verified
//   --max       largest message that the server echoes; default 1 MiB
//
// Prints TAP. The exit status is 0 only if every test passed.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const WebSocket = require('ws');

const url = process.argv[2];
const flags = process.argv.slice(3);
const deflate = flags.includes('--deflate');
const max = Number((flags.find((f) => f.startsWith('--max=')) || '--max=1048576').slice(6));
const base = { rejectUnauthorized: !flags.includes('--insecure'), perMessageDeflate: false, handshakeTimeout: 10000 };
const limit = 20000; // ms for one test

// Client keeps what arrives, so that a test can wait for it in order.
class Client {
  constructor(options) {
    this.events = [];
    this.waiters = [];
    this.ws = new WebSocket(url, { ...base, ...options });
    this.opened = new Promise((resolve, reject) => {
      this.ws.once('open', resolve);
      this.ws.once('error', reject);
    });
    this.opened.catch(() => {});
    this.ws.on('error', (err) => { this.error = err; });
    this.ws.on('message', (data, binary) => this.push({ type: 'message', data, binary }));
    this.ws.on('pong', (data) => this.push({ type: 'pong', data }));
    this.ws.on('close', (code, reason) => this.push({ type: 'close', code, reason: reason.toString() }));
  }

  push(event) {
    const waiter = this.waiters.shift();
    if (waiter) waiter(event);
    else this.events.push(event);
  }

  next() {
    if (this.events.length > 0) return Promise.resolve(this.events.shift());
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  async message(data, binary) {
    const e = await this.next();
    assert.equal(e.type, 'message', `got ${JSON.stringify(e).slice(0, 200)}`);
    assert.equal(e.binary, binary, 'opcode of the echo');
    assert.ok(e.data.equals(Buffer.from(data)), `echo differs: ${e.data.length} bytes for ${Buffer.from(data).length}`);
  }

  async pong(data) {
    const e = await this.next();
    assert.equal(e.type, 'pong', `got ${JSON.stringify(e).slice(0, 200)}`);
    assert.equal(e.data.toString(), data);
  }

  async closed(code) {
    const e = await this.next();
    assert.equal(e.type, 'close', `got ${JSON.stringify(e).slice(0, 200)}`);
    assert.equal(e.code, code);
    assert.equal(this.error, undefined, `client error: ${this.error}`);
  }

  // raw writes bytes past the library: what no client sends on purpose.
  raw(bytes) {
    this.ws._socket.write(bytes);
  }
}

// masked encodes a frame of fewer than 126 bytes.
function masked(first, payload) {
  const key = crypto.randomBytes(4);
  const body = Buffer.from(payload);
  for (let i = 0; i < body.length; i++) body[i] ^= key[i & 3];
  return Buffer.concat([Buffer.from([first, 0x80 | body.length]), key, body]);
}

const letters = (n) => 'the quick brown fox, 0123456789; '.repeat(Math.ceil(n / 33)).slice(0, n);
const tests = [];
const test = (name, options, body) => tests.push({ name, options, body });

const modes = [['plain', {}]];
if (deflate) {
  modes.push(['deflate', { perMessageDeflate: { threshold: 0 } }]);
  modes.push(['deflate without context takeover', {
    perMessageDeflate: { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true } }]);
  modes.push(['deflate with a client window of 10 bits', { perMessageDeflate: { threshold: 0, clientMaxWindowBits: 10 } }]);
}

for (const [mode, options] of modes) {
  test(`${mode}: negotiated as offered`, options, async (c) => {
    assert.equal(c.ws.extensions.includes('permessage-deflate'), mode !== 'plain', `extensions: ${c.ws.extensions}`);
    c.ws.close(1000);
    await c.closed(1000);
  });
  for (const size of [0, 1, 125, 126, 127, 1000, 65535, 65536, 131072, 1048576].filter((n) => n <= max)) {
    test(`${mode}: echo of ${size} bytes as text and binary`, options, async (c) => {
      const text = letters(size);
      const binary = crypto.randomBytes(size);
      c.ws.send(text);
      await c.message(text, false);
      c.ws.send(binary);
      await c.message(binary, true);
      c.ws.close(1000);
      await c.closed(1000);
    });
  }
  test(`${mode}: multi-byte text`, options, async (c) => {
    const text = 'κόσμε 漢字 🙂🚀 '.repeat(500);
    c.ws.send(text);
    await c.message(text, false);
    c.ws.close(1000);
    await c.closed(1000);
  });
  test(`${mode}: fragments with pings between`, options, async (c) => {
    const parts = ['first ', 'sécond ', '', 'third'];
    for (const [i, part] of parts.entries()) {
      await new Promise((resolve, reject) => {
        c.ws.send(part, { fin: i === parts.length - 1, binary: false }, (err) => (err ? reject(err) : resolve()));
      });
      if (i < parts.length - 1) c.ws.ping(`p${i}`);
    }
    for (let i = 0; i < parts.length - 1; i++) await c.pong(`p${i}`);
    await c.message(parts.join(''), false);
    c.ws.close(1000);
    await c.closed(1000);
  });
  test(`${mode}: two hundred messages at once come back in order`, options, async (c) => {
    for (let i = 0; i < 200; i++) c.ws.send(`message ${i} ${'x'.repeat(i)}`);
    for (let i = 0; i < 200; i++) await c.message(`message ${i} ${'x'.repeat(i)}`, false);
    c.ws.close(1000);
    await c.closed(1000);
  });
  test(`${mode}: text that is not UTF-8 is answered with 1007`, options, async (c) => {
    c.raw(masked(0x81, Buffer.from([0x61, 0xff, 0x62])));
    await c.closed(1007);
  });
  test(`${mode}: a reserved opcode is answered with 1002`, options, async (c) => {
    c.raw(masked(0x83, 'reserved'));
    await c.closed(1002);
  });
  test(`${mode}: a message over the limit is answered with 1009`, options, async (c) => {
    c.ws.send(crypto.randomBytes(max + 1));
    await c.closed(1009);
  });
}

for (const code of [1000, 1001, 1008, 3000, 4000, 4999]) {
  test(`close code ${code} is echoed`, {}, async (c) => {
    c.ws.close(code, 'reason');
    await c.closed(code);
  });
}
test('close without a code', {}, async (c) => {
  c.ws.close();
  const e = await c.next();
  assert.equal(e.type, 'close');
  assert.ok(e.code === 1005 || e.code === 1000, `code ${e.code}`);
});
test('an unmasked frame is answered with 1002', {}, async (c) => {
  c.raw(Buffer.from([0x81, 0x01, 0x61]));
  await c.closed(1002);
});
test('an offer of deflate to a server without it is declined, with it accepted', { perMessageDeflate: true }, async (c) => {
  assert.equal(c.ws.extensions.includes('permessage-deflate'), deflate, `extensions: ${c.ws.extensions}`);
  c.ws.close(1000);
  await c.closed(1000);
});

async function run() {
  console.log('TAP version 13');
  console.log(`1..${tests.length}`);
  let failed = 0;
  for (const [i, t] of tests.entries()) {
    const c = new Client(t.options);
    let timer;
    try {
      await Promise.race([
        c.opened.then(() => t.body(c)),
        new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${limit} ms`)), limit); }),
      ]);
      console.log(`ok ${i + 1} - ${t.name}`);
    } catch (err) {
      failed++;
      console.log(`not ok ${i + 1} - ${t.name}`);
      console.log(`  ---\n  message: ${JSON.stringify(String(err.message))}\n  ...`);
    } finally {
      clearTimeout(timer);
      c.ws.terminate();
    }
  }
  console.log(`# tests ${tests.length}, failed ${failed}`);
  process.exitCode = failed === 0 ? 0 : 1;
}

run();
