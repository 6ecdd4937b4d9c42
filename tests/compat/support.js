'use strict';
/*
 * What the JavaScript programs share: the addresses that tests/compat/run hands over, the limiter scripts, values with no
 * short period, and the errors that every client must see. A program is a flat list of node:test cases; run reads TAP.
 */

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { once } = require('node:events');
const nodeTest = require('node:test');

const host = '127.0.0.1';
const port = Number(process.env.KEYWAY_PORT);
const auth = { port: Number(process.env.KEYWAY_AUTH_PORT), password: process.env.KEYWAY_AUTH_PASSWORD };

if (!port || !auth.port) throw new Error('KEYWAY_PORT and KEYWAY_AUTH_PORT are set by tests/compat/run');

const script = (name) => fs.readFileSync(path.join(__dirname, `${name}.lua`), 'utf8');

/* Bytes of every value, the line ends of the protocol among them, not compressible to a period that could hide a shift. */
function bytes(size) {
  const key = crypto.createHash('sha256').update(String(size)).digest();
  const stream = crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  return stream.update(Buffer.alloc(size));
}

const digest = (data) => crypto.createHash('sha1').update(data).digest('hex');

/* The numbers from 0 to n - 1. */
const range = (n) => Array.from({ length: n }, (_, i) => i);

const timeScale = Number(process.env.KEYWAY_TIME_SCALE || 1);

/* Polls until cond() is true: for what another connection does. */
async function until(cond, what, timeoutMs = 15000 * timeScale) {
  const deadline = Date.now() + timeoutMs;
  while (!(await cond())) {
    assert.ok(Date.now() < deadline, `timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/* A case that is a failure, by its name, when it does not end; the program goes on with the next one. */
const caseMs = 30000 * timeScale;
const test = (name, fn) => nodeTest.test(name, { timeout: caseMs }, fn);

/* What listeners were given, call by call; wait(n) answers the calls once there are n. */
function inbox() {
  const calls = [];
  const push = (...args) => {
    calls.push(args);
  };
  const wait = async (n) => {
    await until(() => calls.length >= n, `${n} messages, of which ${calls.length} came at first`);
    return calls;
  };
  return { calls, push, wait };
}

/* A maker of ioredis clients of this port; all of them end after the last case. */
function ioredisMaker(Redis) {
  const opened = [];
  nodeTest.after(() => opened.forEach((client) => client.disconnect()));
  return (options = {}) => {
    const client = new Redis({ host, port, maxRetriesPerRequest: 0, ...options });
    opened.push(client);
    return client;
  };
}

/*
 * How many commands wait at the nodes, asked by ioredis clients of a maker: the proxy's list says that a client waits, not
 * that its node has heard of it.
 */
function blockedCounter(connect) {
  const nodes = process.env.KEYWAY_NODE_PORTS.split(' ').map((nodePort) => connect({ port: Number(nodePort) }));
  return async () => {
    const texts = await Promise.all(nodes.map((node) => node.info('clients')));
    return texts.reduce((sum, text) => sum + Number(/blocked_clients:(\d+)/.exec(text)[1]), 0);
  };
}

/* The same of node-redis, connected. Without another strategy a lost connection is a failure, not something to hide. */
function nodeRedisMaker({ createClient }, defaults = {}) {
  const opened = [];
  nodeTest.after(() => opened.filter((client) => client.isOpen).forEach((client) => (client.destroy ?? client.disconnect).call(client)));
  return async (options = {}) => {
    const client = createClient({ socket: { host, port, reconnectStrategy: false }, ...defaults, ...options });
    client.on('error', () => {});
    opened.push(client);
    await client.connect();
    return client;
  };
}

const errors = {
  wrongType: /WRONGTYPE Operation against a key holding the wrong kind of value/,
  crossSlot: /CROSSSLOT Keys in request don't hash to the same slot.*hash tag/,
  notServed: /is not supported through Keyway/,
  wrongPassword: /WRONGPASS/,
  noAuth: /NOAUTH Authentication required/,
};

module.exports = {
  assert,
  test,
  host,
  port,
  auth,
  script,
  bytes,
  digest,
  range,
  until,
  once,
  inbox,
  ioredisMaker,
  blockedCounter,
  nodeRedisMaker,
  errors,
};
