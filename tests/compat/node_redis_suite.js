'use strict';
/*
 * node-redis, one suite for 4, 5 and 6: the same calls, except where a version has another name for one. It is given the
 * module, so that all versions stand side by side in one node_modules, and options such as the protocol.
 */

const { test, before, after } = require('node:test');
const { assert, host, port, auth, script, bytes, digest, range, until, errors } = require('./support');

module.exports = function suite({ createClient, commandOptions, defineScript, RESP_TYPES }, defaults = {}) {
  const opened = [];
  const isFive = !commandOptions;

  const scripts = {
    limitBucket: defineScript({
      NUMBER_OF_KEYS: 1,
      SCRIPT: script('limiter_bucket'),
      ...(isFive
        ? { parseCommand: (parser, key, ...args) => (parser.pushKey(key), parser.push(...args.map(String))) }
        : { transformArguments: (key, ...args) => [key, ...args.map(String)] }),
      transformReply: (reply) => reply,
    }),
  };

  /* RECONNECT off: a lost connection is a failure of the test, not something to hide. */
  async function connect(options = {}) {
    const client = createClient({ socket: { host, port, reconnectStrategy: false }, scripts, ...defaults, ...options });
    client.on('error', () => {});
    await client.connect();
    opened.push(client);
    return client;
  }

  const getBuffer = (client, key) =>
    isFive
      ? client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get(key)
      : client.get(commandOptions({ returnBuffers: true }), key);
  /* node-redis 5 hands out a stream's messages as they come in RESP3, where every other has them made into objects. */
  const messagesOf = (reply, stream) =>
    Array.isArray(reply)
      ? (assert.equal(reply[0].name, stream), reply[0].messages)
      : reply[stream].map(([id, [field, value]]) => ({ id, message: { [field]: value } }));
  const end = (client) => (client.isOpen ? (isFive ? client.destroy() : client.disconnect()) : undefined);

  let redis;
  before(async () => {
    redis = await connect();
  });
  after(() => Promise.all(opened.map(end)));

  test('cache-aside: miss, fill with a TTL, hit', async () => {
    for (const i of range(20)) {
      assert.equal(await redis.get(`cache:${i}`), null);
      assert.equal(await redis.set(`cache:${i}`, `row ${i} 漢字`, { EX: 60 }), 'OK');
      assert.equal(await redis.get(`cache:${i}`), `row ${i} 漢字`);
    }
    assert.ok((await redis.ttl('cache:7')) > 55);
    assert.equal(await redis.set('cache:7', 'x', { NX: true }), null);
    assert.equal(await redis.getDel('cache:7'), 'row 7 漢字');
  });

  test('sessions: hSet, hGetAll, expire, del', async () => {
    await Promise.all(
      range(50).map(async (i) => {
        const key = `session:${i}`;
        assert.equal(await redis.hSet(key, { user: `u${i}`, visits: 1 }), 2);
        assert.ok(await redis.expire(key, 1800));
        assert.equal(await redis.hIncrBy(key, 'visits', 2), 3);
        assert.deepEqual({ ...(await redis.hGetAll(key)) }, { user: `u${i}`, visits: '3' });
        assert.equal(await redis.del(key), 1);
        assert.equal(await redis.exists(key), 0);
      })
    );
  });

  test('counters in pipelines over all shards', async () => {
    for (let round = 1; round <= 5; round++) {
      const pipeline = redis.multi();
      for (const i of range(100)) pipeline.incr(`count:${i}`).incrBy(`count:by:${i}`, 10).hIncrBy(`count:h:${i}`, 'f', 3);
      const replies = await pipeline.execAsPipeline();
      assert.deepEqual(replies, range(100).flatMap(() => [round, round * 10, round * 3]));
    }
  });

  test('leaderboard: ranks, top, the page around a member', async () => {
    assert.equal(await redis.zAdd('board', range(200).map((i) => ({ score: i * 10, value: `player${i}` }))), 200);
    assert.equal(await redis.zIncrBy('board', 5000, 'player3'), 5030);
    assert.equal(await redis.zRevRank('board', 'player3'), 0);
    const top = await redis.zRangeWithScores('board', 0, 1, { REV: true });
    assert.deepEqual(top.map(({ value, score }) => [value, score]), [['player3', 5030], ['player199', 1990]]);
    const rank = await redis.zRevRank('board', 'player100');
    const page = await redis.zRange('board', rank - 1, rank + 1, { REV: true });
    assert.deepEqual(page, ['player101', 'player100', 'player99']);
    assert.equal(await redis.zScore('board', 'nobody'), null);
  });

  test('token bucket by defineScript, which falls back from NOSCRIPT', async () => {
    await redis.scriptFlush();
    const now = 1700000000000;
    const replies = [];
    for (let i = 0; i < 7; i++) replies.push(await redis.limitBucket('limit:b', now, 5, 1, 1));
    assert.deepEqual(replies.map(([allowed]) => allowed), [1, 1, 1, 1, 1, 0, 0]);
    for (const i of range(30)) assert.deepEqual(await redis.limitBucket(`limit:b:${i}`, now, 5, 1, 1), [1, 4]);
    const all = await Promise.all(range(30).map((i) => redis.limitBucket(`limit:b:${i}`, now, 5, 1, 1)));
    assert.deepEqual(all, range(30).map(() => [1, 3]));
  });

  test('SCRIPT LOAD and evalSha of the window limiter on every shard', async () => {
    const sha = await redis.scriptLoad(script('limiter_window'));
    for (const i of range(30)) {
      const call = (id) => redis.evalSha(sha, { keys: [`limit:w:${i}`], arguments: ['1700000000000', '60000', '2', id] });
      assert.deepEqual([await call('a'), await call('b'), await call('c')], [[1, 1], [1, 2], [0, 2]]);
    }
    await assert.rejects(redis.evalSha('f'.repeat(40), { keys: ['limit:w:1'], arguments: [] }), /NOSCRIPT/);
  });

  test('streams with a consumer group', async () => {
    const ids = [];
    for (const i of range(10)) ids.push(await redis.xAdd('jobs', '*', { n: String(i) }));
    assert.equal(await redis.xGroupCreate('jobs', 'workers', '0'), 'OK');
    const read = await redis.xReadGroup('workers', 'a', { key: 'jobs', id: '>' }, { COUNT: 6 });
    assert.deepEqual(messagesOf(read, 'jobs').map(({ id, message }) => [id, message.n]), range(6).map((i) => [ids[i], String(i)]));
    assert.equal(await redis.xAck('jobs', 'workers', ids.slice(0, 2)), 2);
    const pending = await redis.xPending('jobs', 'workers');
    assert.deepEqual([pending.pending, pending.firstId, pending.lastId], [4, ids[2], ids[5]]);
    const claimed = await redis.xAutoClaim('jobs', 'workers', 'b', 0, '0-0', { COUNT: 10 });
    assert.deepEqual(claimed.messages.map(({ id }) => id), ids.slice(2, 6));
  });

  test('queue: lPush and brPop from two connections, and a blocking stream read', async () => {
    const worker = redis.duplicate();
    worker.on('error', () => {});
    await worker.connect();
    opened.push(worker);
    const taken = [];
    const work = (async () => {
      for (let job = ''; job !== 'end'; ) {
        job = (await worker.brPop('queue', 10)).element;
        taken.push(job);
      }
    })();
    for (const i of range(100)) await redis.lPush('queue', `job${i}`);
    await redis.lPush('queue', 'end');
    await work;
    assert.deepEqual(taken, [...range(100).map((i) => `job${i}`), 'end']);
    assert.equal(await redis.brPop('queue', 0.05), null);
    let entry = null;
    const read = worker.xRead({ key: 'feed', id: '$' }, { BLOCK: 8000 }).then((reply) => (entry = reply));
    await until(async () => (await redis.xAdd('feed', '*', { k: 'v' })) && entry, 'the reader to wake');
    await read;
    assert.deepEqual({ ...messagesOf(entry, 'feed')[0].message }, { k: 'v' });
  });

  test('mGet, mSet, del, unlink, exists over all slots', async () => {
    const keys = range(300).map((i) => `multi:${i}`);
    assert.equal(await redis.mSet(keys.map((key, i) => [key, `v${i}`])), 'OK');
    assert.deepEqual(await redis.mGet([...keys, 'multi:none']), [...range(300).map((i) => `v${i}`), null]);
    assert.equal(await redis.exists(keys), 300);
    assert.equal(await redis.touch(keys), 300);
    assert.equal(await redis.del(keys.slice(0, 100)), 100);
    assert.equal(await redis.unlink(keys), 200);
  });

  test('binary values of 1 MB and 20 MB', async () => {
    for (const size of [1 << 20, 20 << 20]) {
      const value = bytes(size);
      const [stored, , , small] = await Promise.all([
        redis.set('big', value),
        redis.strLen('big'),
        redis.set('small', 's'),
        redis.get('small'),
      ]);
      assert.deepEqual([stored, small], ['OK', 's']);
      const back = await getBuffer(redis, 'big');
      assert.deepEqual([back.length, digest(back)], [size, digest(value)]);
    }
  });

  for (const count of [2000, 50000]) {
    test(`${count} operations at once`, async () => {
      await Promise.all(range(count).map((i) => redis.set(`many:${i}`, `value ${i}`)));
      const got = await Promise.all(range(count).map((i) => redis.get(`many:${i}`)));
      assert.ok(got.every((value, i) => value === `value ${i}`));
    });
  }

  test('name, INFO, passwords by URL, wrong and missing', async () => {
    const named = await connect({ name: 'app' });
    assert.equal(await named.clientGetName(), 'app');
    assert.match(await named.info(), /\r\nredis_version:\d+\.\d+\.\d+\r\n/);
    for (const user of ['', 'default']) {
      const client = createClient({ url: `redis://${user}:${auth.password}@${host}:${auth.port}`, ...defaults });
      client.on('error', () => {});
      await client.connect();
      assert.equal(await client.set('auth:k', 'v'), 'OK');
      end(client);
    }
    const socket = { host, port: auth.port, reconnectStrategy: false };
    await assert.rejects(connect({ socket, password: 'nope' }), errors.wrongPassword);
    // with RESP3 it is already HELLO that is refused, in other words
    await assert.rejects(connect({ socket }).then((none) => none.get('auth:k')), /NOAUTH /);
  });

  test('error objects, and going on after them', async () => {
    await redis.set('err:s', 'x');
    const wrong = await redis.lPush('err:s', 'y').catch((e) => e);
    assert.ok(wrong instanceof Error);
    assert.match(wrong.message, errors.wrongType);
    await assert.rejects(redis.rename('err:a', 'err:b'), errors.crossSlot);
    await assert.rejects(redis.sendCommand(['NOSUCHCOMMAND']), /ERR unknown command 'NOSUCHCOMMAND'/);
    const mixed = await Promise.allSettled([redis.get('err:s'), redis.lPush('err:s', 'y'), redis.get('err:s')]);
    assert.deepEqual(mixed.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
    for (const call of [['CLUSTER', 'FAILOVER'], ['REPLICAOF', 'NO', 'ONE'], ['MIGRATE', host, '1', 'a', '0', '9'], ['SWAPDB', '0', '1']]) {
      await assert.rejects(redis.sendCommand(call), errors.notServed, call.join(' '));
    }
    assert.deepEqual(await redis.multi().set('err:s', 'z').get('err:s').exec(), ['OK', 'z']);
    assert.equal(await redis.ping(), 'PONG');
  });

  test('leaving in order: everything asked before is answered', async () => {
    const client = await connect();
    const asked = range(100).map((i) => client.set(`quit:${i}`, String(i)));
    await (isFive ? client.close() : client.quit());
    assert.deepEqual(await Promise.all(asked), range(100).map(() => 'OK'));
    assert.equal(client.isOpen, false);
  });
};
