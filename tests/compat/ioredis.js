'use strict';
/* ioredis 5: what applications do with it. ioredis_edges.js has connections, errors, size and load. */

const { test, before, after } = require('node:test');
const Redis = require(process.env.KEYWAY_IOREDIS ?? 'ioredis');
const { assert, host, port, script, range, until } = require('./support');

let redis;
const opened = [];

function connect(options = {}) {
  const client = new Redis({ host, port, maxRetriesPerRequest: 0, ...options });
  opened.push(client);
  return client;
}

before(() => {
  redis = connect();
  redis.defineCommand('limitWindow', { numberOfKeys: 1, lua: script('limiter_window') });
  redis.defineCommand('limitBucket', { numberOfKeys: 1, lua: script('limiter_bucket') });
});
after(() => opened.forEach((client) => client.disconnect()));

test('cache-aside: miss, fill with a TTL, hit', async () => {
  let loads = 0;
  const fetch = async (id) => {
    const hit = await redis.get(`cache:${id}`);
    if (hit !== null) return JSON.parse(hit);
    loads += 1;
    const row = { id, name: `Größe ${id} 漢字` };
    await redis.set(`cache:${id}`, JSON.stringify(row), 'EX', 60);
    return row;
  };
  for (const id of [...range(20), ...range(20)]) assert.deepEqual(await fetch(id), { id, name: `Größe ${id} 漢字` });
  assert.equal(loads, 20);
  const ttl = await redis.ttl('cache:7');
  assert.ok(ttl > 55 && ttl <= 60, `ttl ${ttl}`);
  assert.equal(await redis.set('cache:7', 'x', 'EX', 60, 'NX'), null);
  await redis.pexpire('cache:7', 1);
  await until(async () => (await redis.get('cache:7')) === null, 'the entry to expire');
});

test('sessions: HSET, HGETALL, EXPIRE, DEL', async () => {
  await Promise.all(
    range(50).map(async (i) => {
      const key = `session:${i}`;
      assert.equal(await redis.hset(key, { user: `u${i}`, csrf: 'abc', visits: 1 }), 3);
      assert.equal(await redis.expire(key, 1800), 1);
      assert.equal(await redis.hincrby(key, 'visits', 2), 3);
      assert.deepEqual(await redis.hgetall(key), { user: `u${i}`, csrf: 'abc', visits: '3' });
      assert.deepEqual(await redis.hmget(key, 'user', 'none'), [`u${i}`, null]);
      assert.ok((await redis.ttl(key)) > 1790);
      assert.equal(await redis.del(key), 1);
      assert.deepEqual(await redis.hgetall(key), {});
    })
  );
});

test('counters in pipelines over all shards', async () => {
  for (let round = 1; round <= 5; round++) {
    const pipeline = redis.pipeline();
    for (const i of range(100)) pipeline.incr(`count:${i}`).incrby(`count:by:${i}`, 10).hincrby(`count:h:${i}`, 'f', 3);
    const replies = await pipeline.exec();
    assert.deepEqual(replies, range(100).flatMap(() => [[null, round], [null, round * 10], [null, round * 3]]));
  }
  assert.equal(await redis.incrbyfloat('count:float', 0.5), '0.5');
  assert.equal(await redis.decrby('count:0', 7), -2);
});

test('auto-pipelining', async () => {
  const auto = connect({ enableAutoPipelining: true });
  await Promise.all(range(500).map((i) => auto.set(`auto:${i}`, i)));
  assert.deepEqual(await Promise.all(range(500).map((i) => auto.get(`auto:${i}`))), range(500).map(String));
});

test('leaderboard: ranks, top, the page around a member', async () => {
  const entries = range(200).flatMap((i) => [i * 10, `player${i}`]);
  assert.equal(await redis.zadd('board', ...entries), 200);
  assert.equal(await redis.zincrby('board', 5000, 'player3'), '5030');
  assert.equal(await redis.zrevrank('board', 'player3'), 0);
  assert.deepEqual(await redis.zrevrange('board', 0, 1, 'WITHSCORES'), ['player3', '5030', 'player199', '1990']);
  const rank = await redis.zrevrank('board', 'player100');
  const page = await redis.zrevrange('board', rank - 2, rank + 2);
  assert.deepEqual(page, ['player102', 'player101', 'player100', 'player99', 'player98']);
  assert.equal(await redis.zrevrank('board', 'nobody'), null);
  assert.equal(await redis.zcount('board', 1000, '(1100'), 10);
  assert.deepEqual(await redis.zrange('board', '(1100', 1120, 'BYSCORE'), ['player111', 'player112']);
});

test('sliding-window limiter by defineCommand', async () => {
  await redis.script('FLUSH');
  const now = 1700000000000;
  const hits = await Promise.all(range(10).map((i) => redis.limitWindow('limit:w', now + i, 60000, 4, `id${i}`)));
  assert.deepEqual(hits.map(([allowed]) => allowed), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(await redis.limitWindow('limit:w', now + 120000, 60000, 4, 'later'), [1, 1]);
});

/*
 * ioredis sends EVAL once a connection and EVALSHA from then on; after NOSCRIPT it tries once more. That is enough with
 * one server, where EVAL makes the script known for every key, so it must be enough here.
 */
test('a script that EVAL made known on one shard is known on all', async () => {
  await redis.script('FLUSH');
  const many = await Promise.all(range(60).map((i) => redis.limitWindow(`limit:all:${i}`, 1700000000000, 1000, 1, 'a')));
  assert.ok(many.every(([allowed]) => allowed === 1));
});

test('token bucket in a pipeline, with the script unknown to the nodes', async () => {
  await redis.script('FLUSH');
  const now = 1700000000000;
  const pipeline = redis.pipeline();
  for (const i of range(8)) pipeline.limitBucket('limit:b', now, 5, 1, 1).get(`none:${i}`);
  const replies = await pipeline.exec();
  assert.ok(replies.every(([error]) => error === null));
  assert.deepEqual(replies.filter((_, i) => i % 2 === 0).map(([, r]) => r), [[1, 4], [1, 3], [1, 2], [1, 1], [1, 0], [0, 0], [0, 0], [0, 0]]);
  assert.deepEqual(await redis.limitBucket('limit:b', now + 2000, 5, 1, 1), [1, 1]);
});

test('EVALSHA and SCRIPT by hand', async () => {
  const text = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}";
  const sha = await redis.script('LOAD', text);
  assert.match(sha, /^[0-9a-f]{40}$/);
  assert.deepEqual(await redis.script('EXISTS', sha, '0'.repeat(40)), [1, 0]);
  for (const i of range(30)) {
    await redis.set(`script:${i}`, i);
    assert.deepEqual(await redis.evalsha(sha, 1, `script:${i}`, 'a'), [`script:${i}`, 'a', String(i)]);
  }
  assert.equal(await redis.script('FLUSH'), 'OK');
  await assert.rejects(redis.evalsha(sha, 1, 'script:1', 'a'), /^ReplyError: NOSCRIPT/);
  assert.equal(await redis.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, 'script:x', 'v'), 'OK');
});

test('streams with a consumer group', async () => {
  const ids = [];
  for (const i of range(10)) ids.push(await redis.xadd('jobs', 'MAXLEN', '~', 1000, '*', 'n', i));
  assert.equal(await redis.xgroup('CREATE', 'jobs', 'workers', '0'), 'OK');
  await assert.rejects(redis.xgroup('CREATE', 'jobs', 'workers', '0'), /BUSYGROUP/);
  const [[name, first]] = await redis.xreadgroup('GROUP', 'workers', 'a', 'COUNT', 6, 'STREAMS', 'jobs', '>');
  assert.equal(name, 'jobs');
  assert.deepEqual(first.map(([id, fields]) => [id, fields[1]]), range(6).map((i) => [ids[i], String(i)]));
  assert.equal(await redis.xack('jobs', 'workers', ids[0], ids[1]), 2);
  const [pending, low, high, consumers] = await redis.xpending('jobs', 'workers');
  assert.deepEqual([pending, low, high, consumers], [4, ids[2], ids[5], [['a', '4']]]);
  const [cursor, claimed] = await redis.xautoclaim('jobs', 'workers', 'b', 0, '0-0', 'COUNT', 10);
  assert.equal(cursor, '0-0');
  assert.deepEqual(claimed.map(([id]) => id), ids.slice(2, 6));
  const detail = await redis.xpending('jobs', 'workers', '-', '+', 10, 'b');
  assert.deepEqual(detail.map(([id, who, , times]) => [id, who, times]), ids.slice(2, 6).map((id) => [id, 'b', 2]));
  assert.equal(await redis.xlen('jobs'), 10);
});

test('XREADGROUP and XREAD that block until an entry comes', async () => {
  const reader = connect();
  await redis.xgroup('CREATE', 'feed', 'g', '$', 'MKSTREAM');
  const group = reader.xreadgroup('GROUP', 'g', 'c', 'COUNT', 1, 'BLOCK', 8000, 'STREAMS', 'feed', '>');
  const plain = connect().xread('BLOCK', 8000, 'STREAMS', 'feed', '$');
  let done = false;
  Promise.all([group, plain]).then(() => (done = true));
  await until(async () => {
    await redis.xadd('feed', '*', 'k', 'v');
    return done;
  }, 'both readers to wake');
  assert.deepEqual((await group)[0][1][0][1], ['k', 'v']);
  assert.deepEqual((await plain)[0][1][0][1], ['k', 'v']);
  assert.equal(await redis.xread('BLOCK', 20, 'STREAMS', 'feed', '$'), null);
});

test('queue: LPUSH and BRPOP from two connections', async () => {
  const worker = connect();
  const taken = [];
  const work = (async () => {
    for (;;) {
      const [key, job] = await worker.brpop('queue', 10);
      assert.equal(key, 'queue');
      if (job === 'end') return;
      taken.push(job);
    }
  })();
  for (const i of range(100)) await redis.lpush('queue', `job${i}`);
  await redis.lpush('queue', 'end');
  await work;
  assert.deepEqual(taken, range(100).map((i) => `job${i}`));
  assert.equal(await redis.brpop('queue', 0.05), null);
  assert.equal(await redis.lmove('{q}a', '{q}b', 'RIGHT', 'LEFT'), null);
  await redis.zadd('prio', 2, 'late', 1, 'soon');
  assert.deepEqual(await redis.bzpopmin('prio', 1), ['prio', 'soon', '1']);
});

test('a blocked connection delays nobody, and its own commands wait behind the block', async () => {
  const blocked = connect();
  const pop = blocked.blpop('slowqueue', 10);
  const behind = blocked.set('behind', '1');
  for (const i of range(200)) assert.equal(await redis.set(`free:${i}`, i), 'OK');
  assert.equal(await redis.get('behind'), null);
  await redis.rpush('slowqueue', 'x');
  assert.deepEqual(await pop, ['slowqueue', 'x']);
  assert.equal(await behind, 'OK');
});

test('MGET, MSET, DEL, UNLINK, EXISTS, TOUCH over all slots', async () => {
  const keys = range(300).map((i) => `multi:${i}`);
  assert.equal(await redis.mset(new Map(keys.map((key, i) => [key, `v${i}`]))), 'OK');
  assert.deepEqual(await redis.mget(...keys, 'multi:none'), [...range(300).map((i) => `v${i}`), null]);
  assert.equal(await redis.exists(...keys, keys[0], 'multi:none'), 301);
  assert.equal(await redis.touch(...keys), 300);
  assert.equal(await redis.del(...keys.slice(0, 100), 'multi:none'), 100);
  assert.equal(await redis.unlink(...keys), 200);
  assert.deepEqual(await redis.mget(keys), keys.map(() => null));
});
