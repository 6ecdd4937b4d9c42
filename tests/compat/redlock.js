'use strict';
/* node-redlock 4 and 5 with Keyway as the one instance that they ask. */

const { assert, test, range, until, ioredisMaker } = require('./support');
const Four = require('redlock');
const { default: Five, ResourceLockedError, ExecutionError } = require('redlock5');

const connect = ioredisMaker(require('ioredis'));

test('redlock 4: acquire, contention, extend, release, expiry', async () => {
  const redis = connect();
  const patient = new Four([redis], { retryCount: 500, retryDelay: 5, retryJitter: 5 });
  const hasty = new Four([connect()], { retryCount: 0 });
  const lock = await patient.acquire('locks:four', 5000);
  await assert.rejects(hasty.acquire('locks:four', 1000), { name: 'LockError' });
  assert.equal(await redis.get('locks:four'), lock.value);
  await lock.extend(8000);
  const ttl = await redis.pttl('locks:four');
  assert.ok(ttl > 5000 && ttl <= 8000, `ttl ${ttl}`);
  await lock.unlock();
  assert.equal(await redis.exists('locks:four'), 0);
  await assert.rejects(lock.unlock(), { name: 'LockError' });
  await patient.acquire('locks:four', 50);
  const next = await patient.acquire('locks:four', 5000);
  assert.equal(await redis.get('locks:four'), next.value);
  await next.unlock();
});

test('redlock 4: several resources of one slot, taken together or not at all', async () => {
  const redis = connect();
  const hasty = new Four([redis], { retryCount: 0 });
  const both = await hasty.acquire(['locks:{r}a', 'locks:{r}b'], 5000);
  await assert.rejects(hasty.acquire(['locks:{r}b', 'locks:{r}c'], 5000), { name: 'LockError' });
  assert.equal(await redis.exists('locks:{r}c'), 0);
  await both.unlock();
  assert.equal(await redis.exists('locks:{r}a', 'locks:{r}b'), 0);
});

test('redlock 4: 20 contenders never overlap', async () => {
  const contenders = range(5).map(() => new Four([connect()], { retryCount: 5000, retryDelay: 2, retryJitter: 3 }));
  let inside = 0;
  let sum = 0;
  await Promise.all(
    range(20).map(async (i) => {
      const lock = await contenders[i % 5].acquire('locks:four:many', 10000);
      inside += 1;
      assert.equal(inside, 1);
      await connect().ping();
      sum += 1;
      inside -= 1;
      await lock.unlock();
    })
  );
  assert.equal(sum, 20);
});

test('redlock 5: acquire, contention, extend, release', async () => {
  const redis = connect();
  const locker = new Five([redis], { retryCount: 0 });
  locker.on('error', (e) => assert.ok(e instanceof ResourceLockedError, String(e)));
  let lock = await locker.acquire(['locks:{five}a', 'locks:{five}b'], 5000);
  await assert.rejects(locker.acquire(['locks:{five}b'], 1000), ExecutionError);
  assert.equal(await redis.get('locks:{five}b'), lock.value);
  lock = await lock.extend(9000);
  assert.ok((await redis.pttl('locks:{five}a')) > 5000);
  await lock.release();
  assert.equal(await redis.exists('locks:{five}a', 'locks:{five}b'), 0);
  await assert.rejects(lock.release(), ExecutionError);
});

test('redlock 5: using() extends by itself, and aborts when the lock was taken away', async () => {
  const redis = connect();
  const locker = new Five([redis], { retryCount: 0, automaticExtensionThreshold: 3500 });
  locker.on('error', () => {});
  const values = new Set();
  // extended half a second after each time, which leaves three and a half for a machine that stands still
  const answer = await locker.using(['locks:using'], 4000, async (signal) => {
    const began = Date.now();
    await until(async () => {
      values.add(await redis.get('locks:using'));
      return Date.now() - began > 4600;
    }, 'more than the time of the lock');
    assert.equal(signal.aborted, false);
    return 'done';
  });
  assert.equal(answer, 'done');
  assert.equal(values.size, 1);
  assert.ok(!values.has(null));
  assert.equal(await redis.exists('locks:using'), 0);
  const aborted = locker.using(['locks:using'], 4000, async (signal) => {
    await redis.set('locks:using', 'a thief');
    await until(() => signal.aborted, 'the abort');
    assert.ok(signal.error instanceof Error);
  });
  await assert.rejects(aborted, ExecutionError);
  assert.equal(await redis.get('locks:using'), 'a thief');
});

test('redlock 5: 20 workers with retries on one resource add up', async () => {
  const redis = connect();
  const lockers = range(5).map(() => new Five([connect()], { retryCount: 5000, retryDelay: 2, retryJitter: 3 }));
  lockers.forEach((locker) => locker.on('error', () => {}));
  await redis.set('locked:balance', '0');
  await Promise.all(
    range(20).map((i) =>
      lockers[i % 5].using(['locks:balance'], 10000, async () => {
        const seen = Number(await redis.get('locked:balance'));
        await redis.set('locked:balance', seen + 1);
      })
    )
  );
  assert.equal(await redis.get('locked:balance'), '20');
});
