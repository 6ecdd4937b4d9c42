'use strict';
/* rate-limiter-flexible on ioredis and node-redis: what is allowed is counted exactly, also by many at once. */

const { assert, test, range, until, ioredisMaker, nodeRedisMaker } = require('./support');
const {
  RateLimiterRedis,
  RateLimiterMemory,
  RateLimiterUnion,
  RateLimiterQueue,
  RLWrapperBlackAndWhite,
  RateLimiterRes,
} = require('rate-limiter-flexible');

const ioredis5 = ioredisMaker(require('ioredis'));
const ioredis6 = ioredisMaker(require('ioredis6'));
const clients = [
  { name: 'ioredis 5', connect: async () => ({ storeClient: ioredis5() }) },
  { name: 'ioredis 6', connect: async () => ({ storeClient: ioredis6() }) },
  { name: 'node-redis 4', make: nodeRedisMaker(require('redis4')) },
  { name: 'node-redis 5', make: nodeRedisMaker(require('redis5')) },
  { name: 'node-redis 6', make: nodeRedisMaker(require('redis')) },
].map(({ name, make, connect }) => ({ name, connect: connect ?? (async () => ({ storeClient: await make(), useRedisPackage: true })) }));

/* How many of the attempts at once passed; each refusal must be the limiter's own. */
async function passed(attempts) {
  const settled = await Promise.allSettled(attempts);
  const refused = settled.filter(({ status }) => status === 'rejected');
  assert.ok(refused.every(({ reason }) => reason instanceof RateLimiterRes), String(refused[0]?.reason));
  return settled.length - refused.length;
}

for (const { name, connect } of clients) {
  const keyPrefix = (what) => `${name.replace(/ /g, '-')}:${what}`;

  test(`${name}: exactly N of many at once, for each of 30 keys`, async () => {
    const options = { points: 7, duration: 30, keyPrefix: keyPrefix('exact') };
    const limiters = await Promise.all(range(4).map(async () => new RateLimiterRedis({ ...(await connect()), ...options })));
    const sums = await Promise.all(range(30).map((k) => passed(range(20).map((i) => limiters[i % 4].consume(`user${k}`)))));
    assert.deepEqual(sums, range(30).map(() => 7));
    const result = await limiters[0].get('user3');
    assert.deepEqual([result.consumedPoints, result.remainingPoints], [20, 0]);
    assert.ok(result.msBeforeNext > 20000 && result.msBeforeNext <= 30000);
  });

  test(`${name}: points, penalty, reward, delete, set, and the window that ends`, async () => {
    const limiter = new RateLimiterRedis({ ...(await connect()), points: 10, duration: 2, keyPrefix: keyPrefix('points') });
    assert.equal((await limiter.consume('a', 4)).remainingPoints, 6);
    assert.equal((await limiter.penalty('a', 3)).consumedPoints, 7);
    assert.equal((await limiter.reward('a', 2)).consumedPoints, 5);
    assert.equal((await limiter.consume('a', 5)).remainingPoints, 0);
    const refused = await limiter.consume('a').catch((e) => e);
    assert.ok(refused instanceof RateLimiterRes && refused.msBeforeNext > 0 && refused.msBeforeNext <= 2000);
    await until(async () => (await passed([limiter.consume('a', 0)])) === 1, 'the next window');
    assert.equal((await limiter.set('b', 9, 60)).consumedPoints, 9);
    assert.equal((await limiter.consume('b')).remainingPoints, 0);
    assert.equal(await limiter.delete('b'), true);
    assert.equal(await limiter.get('b'), null);
  });

  test(`${name}: a key is blocked, by hand and after too many`, async () => {
    const limiter = new RateLimiterRedis({ ...(await connect()), points: 2, duration: 20, blockDuration: 40, keyPrefix: keyPrefix('block') });
    assert.equal(await passed(range(5).map(() => limiter.consume('a'))), 2);
    assert.ok((await limiter.get('a')).msBeforeNext > 30000);
    await limiter.block('b', 20);
    assert.equal(await passed([limiter.consume('b')]), 0);
    const { msBeforeNext } = await limiter.get('b');
    assert.ok(msBeforeNext > 15000 && msBeforeNext <= 20000);
    const inMemory = new RateLimiterRedis({
      ...(await connect()),
      points: 2,
      duration: 30,
      inMemoryBlockOnConsumed: 3,
      keyPrefix: keyPrefix('memory'),
    });
    for (const expected of [1, 1, 0, 0, 0]) assert.equal(await passed([inMemory.consume('a')]), expected);
    assert.equal((await inMemory.get('a')).consumedPoints, 3);
  });

  test(`${name}: the insurance takes over when the store is gone`, async () => {
    const store = await connect();
    const insuranceLimiter = new RateLimiterMemory({ points: 3, duration: 30, keyPrefix: keyPrefix('insured') });
    const limiter = new RateLimiterRedis({ ...store, points: 5, duration: 30, insuranceLimiter, keyPrefix: keyPrefix('insured') });
    assert.equal(await passed(range(10).map(() => limiter.consume('a'))), 5);
    const { storeClient } = store;
    if (store.useRedisPackage) await (storeClient.destroy ?? storeClient.disconnect).call(storeClient);
    else {
      storeClient.disconnect();
      await until(() => storeClient.status === 'end', 'the end of the connection');
    }
    assert.equal(await passed(range(10).map(() => limiter.consume('a'))), 3);
  });

  test(`${name}: union of two windows, the queue, a white list`, async () => {
    const store = await connect();
    const second = new RateLimiterRedis({ ...store, points: 3, duration: 30, keyPrefix: keyPrefix('second') });
    const hour = new RateLimiterRedis({ ...store, points: 4, duration: 3600, keyPrefix: keyPrefix('hour') });
    const both = new RateLimiterUnion(second, hour);
    const settled = await Promise.allSettled(range(6).map(() => both.consume('a')));
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 3);
    const five = new RateLimiterRedis({ ...store, points: 5, duration: 1, keyPrefix: keyPrefix('queue') });
    const queue = new RateLimiterQueue(five, { maxQueueSize: 100 });
    const remaining = await Promise.all(range(8).map(() => queue.removeTokens(1)));
    assert.equal(remaining.length, 8);
    const listed = new RLWrapperBlackAndWhite({ limiter: second, whiteList: ['vip'], blackList: ['banned'] });
    await Promise.all(range(20).map(() => listed.consume('vip')));
    await assert.rejects(listed.consume('banned'));
  });
}
