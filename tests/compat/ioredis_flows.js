'use strict';
/* What ioredis users do beside plain commands: MULTI, WATCH, blocking, scanning, scripts, auto-pipelining. */

const { createHash } = require('node:crypto');
const { assert, test, script, range, until, ioredisMaker, blockedCounter } = require('./support');

for (const { name, Redis, options } of require('./ioredis_versions')) {
  const maker = ioredisMaker(Redis);
  const connect = (more = {}) => maker({ ...options, ...more });
  const named = (key) => `${name.replace(/ /g, '-')}:${key}`;

  test(`${name}: MULTI in its three forms, an error inside, one before, DISCARD`, async () => {
    const redis = connect();
    const [s, h, n] = [named('{t}s'), named('{t}h'), named('{t}n')];
    const none = named('{t}none');
    const chained = await redis.multi().set(s, 'a').hset(h, { f: '1', g: '2' }).hgetall(h).lrange(none, 0, -1).get(none).exec();
    assert.deepEqual(chained, [[null, 'OK'], [null, 2], [null, { f: '1', g: '2' }], [null, []], [null, null]]);
    assert.deepEqual(await redis.multi([['incr', n], ['incrby', n, 5]]).exec(), [[null, 1], [null, 6]]);
    assert.equal(await redis.multi({ pipeline: false }), 'OK');
    assert.equal(await redis.incr(n), 'QUEUED');
    assert.deepEqual(await redis.exec(), [[null, 7]]);
    const failing = await redis.multi().set(s, 'b').lpush(s, 'x').set(s, 'c').exec();
    assert.deepEqual([failing[0], failing[2]], [[null, 'OK'], [null, 'OK']]);
    assert.match(failing[1][0].message, /^WRONGTYPE/);
    await assert.rejects(redis.multi().set(s, 'd').call('NOSUCHCOMMAND').exec(), /EXECABORT/);
    await assert.rejects(redis.multi().set(s, 'd').call('GET').exec(), /EXECABORT/);
    await redis.multi({ pipeline: false });
    assert.equal(await redis.set(s, 'e'), 'QUEUED');
    assert.equal(await redis.discard(), 'OK');
    assert.equal(await redis.get(s), 'c');
    await assert.rejects(redis.exec(), /ERR EXEC without MULTI/);
    await assert.rejects(redis.discard(), /ERR DISCARD without MULTI/);
    await redis.multi({ pipeline: false });
    await assert.rejects(redis.call('MULTI'), /ERR MULTI calls can not be nested/);
    await assert.rejects(redis.watch(s), /ERR WATCH inside MULTI is not allowed/);
    assert.deepEqual(await redis.exec(), []);
  });

  test(`${name}: many transactions in one pipeline and a transaction of 5,000 commands`, async () => {
    const redis = connect();
    const pipeline = redis.pipeline();
    for (const i of range(100)) pipeline.multi().incr(named(`{p${i % 7}}n`)).get(named(`{p${i % 7}}n`)).exec();
    const replies = await pipeline.exec();
    for (const i of range(100)) {
      const n = Math.floor(i / 7) + 1;
      assert.deepEqual(replies[i * 4 + 3], [null, [n, String(n)]]);
    }
    const large = redis.multi();
    for (const i of range(5000)) large.rpush(named('long'), `element ${i}`);
    assert.ok((await large.exec()).every(([error, length], i) => error === null && length === i + 1));
  });

  test(`${name}: WATCH: null after a change, also by expiry and by the watcher itself`, async () => {
    const [redis, other] = [connect(), connect()];
    const key = named('{w}k');
    const commit = () => redis.multi().set(key, 'mine').get(key).exec();
    await redis.set(key, '1');
    assert.equal(await redis.watch(key), 'OK');
    await other.set(key, '2');
    assert.equal(await commit(), null);
    assert.equal(await redis.get(key), '2');
    await redis.watch(key, named('{w}other'));
    assert.equal(await redis.get(key), '2');
    assert.deepEqual(await commit(), [[null, 'OK'], [null, 'mine']]);
    await redis.watch(named('{w}none'));
    await other.set(named('{w}none'), 'now there');
    assert.equal(await commit(), null);
    await redis.watch(key);
    await redis.append(key, '!');
    assert.equal(await commit(), null);
    await redis.watch(key);
    await other.set(key, 'x');
    assert.equal(await redis.unwatch(), 'OK');
    assert.deepEqual(await commit(), [[null, 'OK'], [null, 'mine']]);
    await redis.watch(key);
    await other.pexpire(key, 1);
    await until(async () => (await other.exists(key)) === 0, 'the expiry');
    assert.equal(await commit(), null);
    await redis.watch(key);
    await redis.multi({ pipeline: false });
    await redis.discard();
    await other.set(key, 'y');
    assert.deepEqual(await commit(), [[null, 'OK'], [null, 'mine']]);
  });

  test(`${name}: WATCH: 10 clients that retry lose no increment`, async () => {
    const clients = range(10).map(() => connect());
    const key = named('counter');
    const increment = async (redis) => {
      for (;;) {
        await redis.watch(key);
        const seen = Number(await redis.get(key));
        if (await redis.multi().set(key, seen + 1).exec()) return;
      }
    };
    await Promise.all(clients.map(async (redis) => { for (const _ of range(6)) await increment(redis); }));
    assert.equal(await clients[0].get(key), '60');
  });

  test(`${name}: blocking: first come, first served; several keys; moves; scores; timeouts`, async () => {
    const redis = connect();
    const workers = range(30).map(() => connect());
    const blocked = blockedCounter(maker);
    const order = [];
    for (const [i, worker] of workers.entries()) {
      worker.brpop(named('fair'), 20).then(([, element]) => order.push([i, element]));
      await until(async () => (await blocked()) === i + 1, `client ${i} to block`);
    }
    for (const i of range(30)) await redis.lpush(named('fair'), `e${i}`);
    await until(() => order.length === 30, 'all 30');
    assert.deepEqual(order.sort(([a], [b]) => a - b), range(30).map((i) => [i, `e${i}`]));
    const [a, b] = [named('{b}a'), named('{b}b')];
    const either = workers[0].blpop(a, b, 20);
    const moved = workers[1].blmove(named('{b}from'), named('{b}to'), 'RIGHT', 'LEFT', 20);
    const scored = workers[2].bzpopmax(named('{b}z1'), named('{b}z2'), 20);
    const several = workers[3].blmpop(20, 2, named('{b}m1'), named('{b}m2'), 'LEFT', 'COUNT', 2);
    await redis.rpush(b, 'x');
    await redis.rpush(named('{b}from'), 'y');
    await redis.zadd(named('{b}z2'), 1, 'low', 2.5, 'high');
    await redis.rpush(named('{b}m2'), '1', '2', '3');
    assert.deepEqual(await either, [b, 'x']);
    assert.equal(await moved, 'y');
    assert.deepEqual(await scored, [named('{b}z2'), 'high', '2.5']);
    assert.deepEqual(await several, [named('{b}m2'), ['1', '2']]);
    assert.deepEqual(await Promise.all([workers[0].blpop(a, 0.02), workers[1].bzpopmin(a, 0.02)]), [null, null]);
    assert.equal(await workers[2].blmove(a, b, 'LEFT', 'LEFT', 0.02), null);
    await redis.set(a, 'a string');
    await assert.rejects(workers[0].blpop(a, 1), /WRONGTYPE/);
    await assert.rejects(workers[0].blpop(b, -1), /ERR timeout is negative/);
  });

  test(`${name}: a client that leaves while it is blocked takes nothing with it`, async () => {
    const redis = connect();
    for (const i of range(10)) {
      const leaving = connect({ retryStrategy: null });
      const id = await leaving.client('ID');
      const pop = leaving.blpop(named(`leave:${i}`), 20).catch((e) => e);
      await until(async () => /cmd=blpop/.test(await redis.client('LIST', 'ID', id)), 'the block');
      leaving.disconnect();
      assert.ok((await pop) instanceof Error);
      await until(async () => !/id=/.test(await redis.client('LIST', 'ID', id)), 'the end of the connection');
      await redis.rpush(named(`leave:${i}`), 'kept');
      // what its node gave it in the moment of leaving is put back
      await until(async () => (await redis.llen(named(`leave:${i}`))) === 1, 'the element to be there');
      assert.equal(await redis.lpop(named(`leave:${i}`)), 'kept');
    }
  });

  test(`${name}: CLIENT UNBLOCK, by timeout and with an error`, async () => {
    const [redis, blocked] = [connect(), connect()];
    const id = await blocked.client('ID');
    const unblock = (...how) => until(async () => (await redis.client('UNBLOCK', id, ...how)) === 1, 'the block');
    const quiet = blocked.brpop(named('unblock'), 20);
    await unblock();
    assert.equal(await quiet, null);
    const loud = assert.rejects(blocked.xread('BLOCK', 20000, 'STREAMS', named('unblock:s'), '$'), /UNBLOCKED/);
    await unblock('ERROR');
    await loud;
    assert.equal(await redis.client('UNBLOCK', id), 0);
  });

  test(`${name}: streams of SCAN, HSCAN, SSCAN and ZSCAN are complete`, async () => {
    const redis = connect();
    const keys = range(2000).map((i) => named(`scan:${i}`));
    await redis.mset(Object.fromEntries(keys.map((key) => [key, 'v'])));
    await redis.hset(named('scanned:h'), Object.fromEntries(range(800).map((i) => [`f${i}`, i])));
    await redis.sadd(named('scanned:s'), range(800));
    await redis.zadd(named('scanned:z'), ...range(800).flatMap((i) => [i, `m${i}`]));
    const collect = async (stream) => {
      const all = new Set();
      for await (const batch of stream) batch.forEach((one) => all.add(one));
      return all;
    };
    const found = await collect(redis.scanStream({ match: named('scan:*'), count: 50 }));
    assert.deepEqual([...found].sort(), [...keys].sort());
    assert.deepEqual([...(await collect(redis.scanStream({ match: named('scanned:*'), type: 'set' })))], [named('scanned:s')]);
    assert.equal((await collect(redis.hscanStream(named('scanned:h')))).size, 1600);
    assert.equal((await collect(redis.sscanStream(named('scanned:s'), { count: 30 }))).size, 800);
    const members = await collect(redis.zscanStream(named('scanned:z'), { match: 'm*' }));
    assert.ok(range(800).every((i) => members.has(`m${i}`) && members.has(String(i))));
    assert.equal(await redis.unlink(...keys), 2000);
  });

  test(`${name}: scripts by the scripts option, with a prefix, in pipelines and in MULTI`, async () => {
    const scripts = {
      bucket: { numberOfKeys: 1, lua: script('limiter_bucket') },
      move: { lua: "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1])); return {KEYS[1], KEYS[2], ARGV[1]}" },
    };
    const redis = connect({ scripts, keyPrefix: named('{lua}') });
    await redis.script('FLUSH');
    assert.deepEqual(await redis.bucket('b', 1700000000000, 5, 1, 2), [1, 3]);
    await redis.set('from', 'value');
    assert.deepEqual(await redis.move(2, 'from', 'to', 'arg'), [named('{lua}from'), named('{lua}to'), 'arg']);
    assert.equal(await redis.get('to'), 'value');
    const mixed = await redis.pipeline().bucket('b', 1700000000000, 5, 1, 2).move(2, 'from', 'to2', 'x').get('to2').exec();
    assert.deepEqual(mixed.map(([, reply]) => reply), [[1, 1], [named('{lua}from'), named('{lua}to2'), 'x'], 'value']);
    const atomic = await redis.multi().bucket('c', 1700000000000, 5, 1, 1).get('to').exec();
    assert.deepEqual(atomic, [[null, [1, 4]], [null, 'value']]);
  });

  test(`${name}: EVALSHA after EVAL elsewhere is known and keeps its place between other commands`, async () => {
    const redis = connect();
    const text = `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${name}`;
    const sha = createHash('sha1').update(text).digest('hex');
    assert.equal(await redis.eval(text, 1, named('known:first'), 2), 2);
    const pipeline = redis.pipeline();
    for (const i of range(30)) pipeline.set(named(`known:${i}`), 1).evalsha(sha, 1, named(`known:${i}`), 2).get(named(`known:${i}`));
    assert.deepEqual(await pipeline.exec(), range(30).flatMap(() => [[null, 'OK'], [null, 3], [null, '3']]));
  });

  test(`${name}: auto-pipelining, with transactions and scripts between`, async () => {
    const scripts = { bump: { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], 2)" } };
    const redis = connect({ enableAutoPipelining: true, scripts });
    await Promise.all(
      range(300).map(async (i) => {
        const key = named(`auto:${i}`);
        const [set, , after, both] = await Promise.all([
          redis.set(key, i),
          redis.bump(key),
          redis.get(key),
          redis.multi().incr(key).decr(key).exec(),
        ]);
        assert.equal(set, 'OK');
        assert.equal(after, String(i + 2));
        assert.equal(both.length, 2);
        assert.equal(both[0][1] - both[1][1], 1);
      })
    );
    await redis.set(named('auto:s'), 'x');
    const settled = await Promise.allSettled([redis.get(named('auto:s')), redis.lpush(named('auto:s'), 1), redis.get(named('auto:s'))]);
    assert.deepEqual(settled.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
  });

  test(`${name}: WAIT, OBJECT, MEMORY, DUMP and RESTORE, COPY and RENAME`, async () => {
    const redis = connect();
    await redis.set(named('{look}a'), '12345');
    assert.ok((await redis.wait(0, 10)) >= 0);
    assert.equal(await redis.object('ENCODING', named('{look}a')), 'int');
    assert.ok((await redis.memory('USAGE', named('{look}a'))) > 0);
    const dumped = await redis.dumpBuffer(named('{look}a'));
    assert.equal(await redis.restore(named('{look}b'), 0, dumped), 'OK');
    await assert.rejects(redis.restore(named('{look}b'), 0, dumped), /BUSYKEY/);
    assert.equal(await redis.get(named('{look}b')), '12345');
    assert.equal(await redis.copy(named('{look}b'), named('{look}c')), 1);
    assert.equal(await redis.rename(named('{look}c'), named('{look}d')), 'OK');
    assert.equal(await redis.getex(named('{look}d'), 'EX', 100), '12345');
    assert.ok((await redis.expiretime(named('{look}d'))) > Date.now() / 1000 + 90);
  });
}
