'use strict';
/* ioredis 5: connecting and leaving, passwords, errors, big values and many operations at once. */

const { test, before, after } = require('node:test');
const Redis = require(process.env.KEYWAY_IOREDIS ?? 'ioredis');
const { assert, host, port, auth, bytes, digest, range, once, errors } = require('./support');

let redis;
const opened = [];

function connect(options = {}) {
  const client = new Redis({ host, port, maxRetriesPerRequest: 0, ...options });
  opened.push(client);
  return client;
}

before(() => {
  redis = connect();
});
after(() => opened.forEach((client) => client.disconnect()));

test('ready check by INFO, connection name, select', async () => {
  const client = connect({ connectionName: 'app', enableReadyCheck: true, db: 0 });
  await once(client, 'ready');
  assert.match(await client.info('persistence'), /\r\nloading:0\r\n/);
  assert.match(await client.info('server'), /\r\nredis_version:\d+\.\d+\.\d+\r\n/);
  assert.equal(await client.client('GETNAME'), 'app');
  assert.ok((await client.client('ID')) > 0);
  assert.match(await client.client('LIST'), /name=app /);
  assert.equal(await client.select(0), 'OK');
});

test('quit answers what was asked before, says OK and ends; a later command fails at once', async () => {
  const client = connect({ retryStrategy: null });
  const before = range(100).map((i) => client.set(`quit:${i}`, i));
  const ended = once(client, 'end');
  assert.equal(await client.quit(), 'OK');
  assert.deepEqual(await Promise.all(before), range(100).map(() => 'OK'));
  await ended;
  await assert.rejects(client.get('quit:1'), /Connection is closed/);
});

test('a client that was disconnected connects again', async () => {
  const client = connect({ retryStrategy: () => 1 });
  await client.ping();
  client.disconnect(true);
  await once(client, 'ready');
  assert.equal(await client.ping(), 'PONG');
});

test('password: by URL, by option, wrong, missing', async () => {
  const options = { maxRetriesPerRequest: 0, retryStrategy: null, lazyConnect: true };
  for (const user of ['', 'default']) {
    const client = new Redis(`redis://${user}:${auth.password}@${host}:${auth.port}`, options);
    await client.connect();
    assert.equal(await client.set('auth:k', 'v'), 'OK');
    assert.equal(await client.quit(), 'OK');
  }
  const wrong = new Redis({ ...options, host, port: auth.port, password: 'nope' });
  const seen = [];
  wrong.on('error', (e) => seen.push(e.message));
  await assert.rejects(wrong.connect().then(() => wrong.get('auth:k')), /WRONGPASS|NOAUTH|closed/);
  wrong.disconnect();
  assert.match(seen.join('\n'), errors.wrongPassword);
  const none = new Redis({ ...options, host, port: auth.port, enableReadyCheck: false });
  const told = [];
  none.on('error', (e) => told.push(e.message));
  // with RESP3 it is already HELLO that is refused, and the connection ends
  const refused = await none.connect().then(() => none.get('auth:k')).catch((e) => e);
  assert.match([...told, refused.message].join('\n'), /NOAUTH /);
  none.disconnect();
});

test('error objects, and going on after them', async () => {
  await redis.set('err:s', 'x');
  const wrong = await redis.lpush('err:s', 'y').catch((e) => e);
  assert.equal(wrong.name, 'ReplyError');
  assert.match(wrong.message, errors.wrongType);
  assert.deepEqual([wrong.command.name, wrong.command.args], ['lpush', ['err:s', 'y']]);
  await assert.rejects(redis.rename('err:a', 'err:b'), { name: 'ReplyError', message: errors.crossSlot });
  await assert.rejects(redis.call('NOSUCHCOMMAND', 'a'), /ERR unknown command 'NOSUCHCOMMAND'/);
  await assert.rejects(redis.call('GET'), /ERR wrong number of arguments for 'get' command/);
  await assert.rejects(redis.eval("return redis.error_reply('MYERR custom')", 1, 'err:s'), /MYERR custom/);
  assert.equal(await redis.get('err:s'), 'x');
});

test('an error in a pipeline stays at its place', async () => {
  const replies = await redis.pipeline().set('err:p', '1').lpush('err:p', 'x').sunion('err:p', 'err:q').get('err:p').exec();
  assert.deepEqual([replies[0], replies[3]], [[null, 'OK'], [null, '1']]);
  assert.match(replies[1][0].message, errors.wrongType);
  assert.match(replies[2][0].message, errors.crossSlot);
});

test('what is not served says so, and the connection stays usable', async () => {
  const client = connect();
  for (const call of [['CLUSTER', 'FAILOVER'], ['REPLICAOF', 'NO', 'ONE'], ['MIGRATE', host, '1', 'a', '0', '9'], ['SWAPDB', '0', '1']]) {
    const raw = new Redis.Command(call[0], call.slice(1), { replyEncoding: 'utf8' });
    await assert.rejects(client.sendCommand(raw), errors.notServed, call.join(' '));
    assert.equal(await client.set('served', '1'), 'OK');
  }
  const transaction = await client.multi().set('served', '2').get('served').exec();
  assert.deepEqual(transaction, [[null, 'OK'], [null, '2']]);
  assert.equal(await client.ping(), 'PONG');
});

test('binary values of 1 MB and 20 MB, alone and in the middle of small ones', async () => {
  for (const size of [1 << 20, 20 << 20]) {
    const value = bytes(size);
    const [, , before, stored, length, after] = await Promise.all([
      redis.set('big:before', 'b'),
      redis.set(`big:${size}`, value),
      redis.get('big:before'),
      redis.getBuffer(`big:${size}`),
      redis.strlen(`big:${size}`),
      redis.get('big:none'),
    ]);
    assert.deepEqual([before, length, after, digest(stored)], ['b', size, null, digest(value)]);
  }
  const halves = await redis.mgetBuffer(`big:${1 << 20}`, 'big:none', `big:${20 << 20}`);
  assert.deepEqual(halves.map((half) => half && half.length), [1 << 20, null, 20 << 20]);
  assert.equal(digest(halves[2]), digest(bytes(20 << 20)));
});

test('keys and fields of any bytes', async () => {
  const key = Buffer.from([0, 13, 10, 255, 123, 125, 36]);
  const value = Buffer.from(range(256));
  assert.equal(await redis.set(key, value), 'OK');
  assert.deepEqual(await redis.getBuffer(key), value);
  assert.equal(await redis.set('', 'empty'), 'OK');
  assert.equal(await redis.get(''), 'empty');
  assert.equal(await redis.set('emptyvalue', ''), 'OK');
  assert.equal(await redis.get('emptyvalue'), '');
});

for (const count of [2000, 50000]) {
  test(`${count} operations at once on one connection`, async () => {
    const set = await Promise.all(range(count).map((i) => redis.set(`many:${i}`, `value ${i}`)));
    assert.ok(set.every((reply) => reply === 'OK'));
    const got = await Promise.all(range(count).map((i) => redis.get(`many:${i}`)));
    assert.ok(got.every((value, i) => value === `value ${i}`));
  });
}

test('one pipeline of 50,000 commands', async () => {
  const pipeline = redis.pipeline();
  for (const i of range(50000)) pipeline.incrby(`pipe:${i % 100}`, 1);
  const replies = await pipeline.exec();
  assert.ok(replies.every(([error, n], i) => error === null && n === Math.floor(i / 100) + 1));
});

test('2,000 operations at once over 100 connections', async () => {
  const clients = range(100).map(() => connect());
  const sums = await Promise.all(range(2000).map((i) => clients[i % 100].incr(`shared:${i % 7}`)));
  assert.equal(sums.length, 2000);
  const totals = await redis.mget(range(7).map((i) => `shared:${i}`));
  assert.equal(totals.reduce((sum, n) => sum + Number(n), 0), 2000);
  assert.deepEqual(await Promise.all(clients.map((client) => client.quit())), clients.map(() => 'OK'));
});

test('cluster-wide answers: DBSIZE, KEYS, SCAN, CONFIG GET, COMMAND, SLOWLOG, FLUSHALL', async () => {
  assert.equal(await redis.flushall(), 'OK');
  await redis.mset(Object.fromEntries(range(90).map((i) => [`wide:${i}`, i])));
  assert.equal(await redis.dbsize(), 90);
  assert.deepEqual((await redis.keys('wide:1*')).sort(), ['wide:1', ...range(10).map((i) => `wide:1${i}`)].sort());
  const scanned = new Set();
  for await (const keys of redis.scanStream({ match: 'wide:*', count: 20 })) keys.forEach((key) => scanned.add(key));
  assert.equal(scanned.size, 90);
  assert.ok(Array.isArray(await redis.config('GET', 'maxclients')));
  assert.ok((await redis.call('COMMAND', 'COUNT')) > 200);
  assert.deepEqual((await redis.call('COMMAND', 'INFO', 'get'))[0].slice(0, 2), ['get', 2]);
  assert.ok(Array.isArray(await redis.slowlog('GET', 10)));
  assert.equal(await redis.flushall(), 'OK');
  assert.equal(await redis.dbsize(), 0);
});
