'use strict';
/* Client-side caching of node-redis 5 and 6 (RESP3, CLIENT TRACKING): what others change is never served from the cache. */

const { assert, test, host, port, range, until, inbox, nodeRedisMaker } = require('./support');

const libraries = [
  { name: 'node-redis 5', redis: require('redis5'), client: require('redis5/node_modules/@redis/client') },
  { name: 'node-redis 6', redis: require('redis'), client: require('@redis/client') },
];

for (const { name, redis: library, client: core } of libraries) {
  const plain = nodeRedisMaker(library);
  const tracking = nodeRedisMaker(library, { RESP: 3 });
  const named = (key) => `${name.replace(/ /g, '-')}:${key}`;
  const newCache = () => new core.BasicClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: 'LRU', recordStats: true });

  test(`${name}: a second read is a hit, a change by another client makes it a miss`, async () => {
    const cache = newCache();
    const [client, other] = await Promise.all([tracking({ clientSideCache: cache }), plain()]);
    const key = named('cache:one');
    await other.set(key, '1');
    assert.equal(await client.get(key), '1');
    assert.equal(await client.get(key), '1');
    assert.deepEqual([cache.stats().missCount, cache.stats().hitCount], [1, 1]);
    for (const i of range(50)) {
      await other.set(key, `v${i}`);
      await until(async () => (await client.get(key)) === `v${i}`, 'the change');
    }
    await other.del(key);
    await until(async () => (await client.get(key)) === null, 'the removal');
  });

  test(`${name}: keys of all slots: every one is cached, every one is invalidated`, async () => {
    const cache = newCache();
    const [client, other] = await Promise.all([tracking({ clientSideCache: cache }), plain()]);
    const keys = range(200).map((i) => named(`cache:all:${i}`));
    await other.mSet(keys.map((key) => [key, 'old']));
    const read = () => Promise.all(keys.map((key) => client.get(key)));
    assert.ok((await read()).every((value) => value === 'old'));
    assert.ok((await read()).every((value) => value === 'old'));
    assert.equal(cache.stats().hitCount, 200);
    await other.mSet(keys.map((key) => [key, 'new']));
    await until(async () => (await read()).every((value) => value === 'new'), 'all changes');
    const before = cache.stats().hitCount;
    await read();
    assert.equal(cache.stats().hitCount - before, 200);
  });

  test(`${name}: hashes and sorted sets, scripts, expiry, FLUSHALL`, async () => {
    const client = await tracking({ clientSideCache: newCache() });
    const other = await plain();
    const [hash, board, counter] = [named('cache:h'), named('cache:z'), named('cache:n')];
    await other.hSet(hash, { f: '1' });
    await other.zAdd(board, { score: 1, value: 'a' });
    await other.set(counter, '1');
    const look = async () => [{ ...(await client.hGetAll(hash)) }.f, await client.zScore(board, 'a'), await client.get(counter)];
    assert.deepEqual(await look(), ['1', 1, '1']);
    await other.hIncrBy(hash, 'f', 1);
    await other.zIncrBy(board, 1, 'a');
    await other.eval("return redis.call('INCR', KEYS[1])", { keys: [counter] });
    const same = (expected) => async () => JSON.stringify(await look()) === JSON.stringify(expected);
    await until(same(['2', 2, '2']), 'the changes');
    await other.pExpire(counter, 20);
    await until(same(['2', 2, null]), 'the expiry');
    await other.flushAll();
    await until(same([undefined, null, null]), 'the flush');
  });

  test(`${name}: the client's own writes, also in MULTI, are seen at once`, async () => {
    const client = await tracking({ clientSideCache: newCache() });
    for (const i of range(50)) {
      assert.equal(await client.set(named('cache:own'), String(i)), 'OK');
      assert.equal(await client.get(named('cache:own')), String(i));
    }
    await client.multi().set(named('{cm}a'), '1').set(named('{cm}b'), '2').exec();
    assert.equal(await client.get(named('{cm}a')), '1');
    await client.multi().set(named('{cm}a'), '3').exec();
    assert.equal(await client.get(named('{cm}a')), '3');
  });

  test(`${name}: a pool with one cache`, async () => {
    const cache = new core.BasicPooledClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: 'LRU', recordStats: true });
    const other = await plain();
    const pool = library.createClientPool({ socket: { host, port }, RESP: 3 }, { minimum: 2, maximum: 4, clientSideCache: cache });
    pool.on('error', () => {});
    await pool.connect();
    const keys = range(100).map((i) => named(`cache:pool:${i}`));
    await other.mSet(keys.map((key) => [key, 'old']));
    const read = () => Promise.all(keys.map((key) => pool.get(key)));
    assert.ok((await read()).every((value) => value === 'old'));
    assert.ok((await read()).every((value) => value === 'old'));
    assert.equal(cache.stats().hitCount, 100);
    await other.mSet(keys.map((key) => [key, 'new']));
    await until(async () => (await read()).every((value) => value === 'new'), 'all changes');
    pool.destroy();
  });

  test(`${name}: invalidations as events`, async () => {
    const [client, other] = await Promise.all([tracking({ emitInvalidate: true }), plain()]);
    const box = inbox();
    client.on('invalidate', box.push);
    const keys = range(30).map((i) => named(`cache:event:${i}`));
    for (const key of keys) assert.equal(await client.get(key), null);
    for (const key of keys) await other.set(key, 'x');
    const got = await box.wait(30);
    assert.deepEqual(got.map(([key]) => String(key)).sort(), [...keys].sort());
    await other.set(keys[0], 'not read since');
    assert.equal(await client.get(keys[1]), 'x');
    await other.set(keys[1], 'y');
    assert.deepEqual((await box.wait(31)).slice(30).map(([key]) => String(key)), [keys[1]]);
  });
}
