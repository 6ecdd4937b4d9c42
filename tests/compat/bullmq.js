'use strict';
/*
 * BullMQ with its keys in one slot ({prefix}, as it asks for with Redis Cluster): scripts of many keys, blocking BZPOPMIN,
 * streams of events. Version 5, and 6 with each of the clients that it knows.
 */

const { assert, test, host, port, range, until } = require('./support');
const nodeTest = require('node:test');

const address = { host, port, maxRetriesPerRequest: null };

async function nodeRedis() {
  const client = require('redis').createClient({ socket: { host, port } });
  client.on('error', () => {});
  await client.connect();
  return client;
}

const variants = [
  { name: 'BullMQ 5', bull: require('bullmq'), connection: async () => address },
  { name: 'BullMQ 6 on ioredis', bull: require('bullmq6'), connection: async () => address },
  { name: 'BullMQ 6 on node-redis', bull: require('bullmq6'), connection: nodeRedis },
];

for (const { name, bull, connection } of variants) {
  const opened = [];
  nodeTest.after(() => Promise.all(opened.map((one) => one.close().catch(() => {}))));
  const prefix = `{${name.replace(/ /g, '-')}}`;

  async function make(Class, queue, ...args) {
    const options = typeof args.at(-1) === 'object' ? args.pop() : {};
    const one = new Class(...(queue ? [queue] : []), ...args, { prefix, connection: await connection(), ...options });
    one.on('error', () => {});
    opened.push(one);
    return one;
  }
  const makeQueue = (queue, options = {}) => make(bull.Queue, queue, options);
  async function makeEvents(queue) {
    const events = await make(bull.QueueEvents, queue, {});
    await events.waitUntilReady();
    return events;
  }
  const makeWorker = (queue, work, options = {}) => make(bull.Worker, queue, work, options);
  const counts = (queue, ...types) => queue.getJobCounts(...types);

  test(`${name}: 300 jobs, four workers, each job once, results and events`, async () => {
    const queue = await makeQueue('many');
    const events = await makeEvents('many');
    const completed = new Map();
    events.on('completed', ({ jobId, returnvalue }) => completed.set(jobId, returnvalue));
    const seen = [];
    const work = async (job) => {
      seen.push(job.data.n);
      await job.updateProgress(50);
      return { squared: job.data.n ** 2 };
    };
    for (const _ of range(4)) await makeWorker('many', work, { concurrency: 5 });
    const jobs = await queue.addBulk(range(300).map((n) => ({ name: 'square', data: { n } })));
    await until(() => completed.size === 300, '300 completed');
    assert.deepEqual([...seen].sort((a, b) => a - b), range(300));
    assert.deepEqual(completed.get(jobs[17].id), { squared: 289 });
    assert.deepEqual((await queue.getJob(jobs[299].id)).returnvalue, { squared: 299 ** 2 });
    const totals = await counts(queue, 'completed', 'failed', 'wait', 'active', 'delayed');
    assert.deepEqual(totals, { completed: 300, failed: 0, wait: 0, active: 0, delayed: 0 });
    assert.equal((await queue.clean(0, 1000, 'completed')).length, 300);
    await queue.obliterate();
    assert.equal(await queue.count(), 0);
  });

  test(`${name}: retries with backoff, then failed with its reason; retry by hand`, async () => {
    const queue = await makeQueue('retry');
    const events = await makeEvents('retry');
    let healed = false;
    const attempts = [];
    await makeWorker('retry', async (job) => {
      attempts.push(job.data.id);
      if (job.data.id === 'bad' && !healed) throw new Error('no luck');
      if (job.data.id === 'once' && job.attemptsMade === 0) throw new Error('first time');
      return 'ok';
    });
    const once = await queue.add('job', { id: 'once' }, { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
    assert.equal(await once.waitUntilFinished(events, 10000), 'ok');
    const bad = await queue.add('job', { id: 'bad' }, { attempts: 3, backoff: { type: 'exponential', delay: 10 } });
    await assert.rejects(bad.waitUntilFinished(events, 10000), /no luck/);
    assert.equal(attempts.filter((id) => id === 'bad').length, 3);
    assert.equal(attempts.filter((id) => id === 'once').length, 2);
    const [failed] = await queue.getFailed();
    assert.deepEqual([failed.id, failed.failedReason, failed.attemptsMade], [bad.id, 'no luck', 3]);
    assert.equal(failed.stacktrace.length, 3);
    healed = true;
    await failed.retry();
    await until(async () => (await failed.getState()) === 'completed', 'the retried job');
  });

  test(`${name}: delayed jobs in the order of their time, priorities in theirs, LIFO`, async () => {
    const delayed = await makeQueue('delayed');
    const began = Date.now();
    const order = [];
    await delayed.addBulk([90, 30, 60].map((delay) => ({ name: 'd', data: { delay }, opts: { delay } })));
    assert.equal((await counts(delayed, 'delayed')).delayed, 3);
    await makeWorker('delayed', async (job) => order.push([job.data.delay, Date.now() - began]));
    await until(() => order.length === 3, 'the delayed jobs');
    assert.deepEqual(order.map(([delay]) => delay), [30, 60, 90]);
    assert.ok(order.every(([delay, at]) => at >= delay - 5), JSON.stringify(order));

    const ranked = await makeQueue('ranked');
    await ranked.addBulk([5, 1, 9, 3].map((priority) => ({ name: 'p', data: { priority }, opts: { priority } })));
    await ranked.add('p', { priority: 'none' });
    await ranked.add('p', { priority: 'lifo' }, { lifo: true });
    assert.equal((await counts(ranked, 'prioritized')).prioritized, 4);
    const taken = [];
    await makeWorker('ranked', async (job) => taken.push(job.data.priority), { concurrency: 1 });
    await until(() => taken.length === 6, 'the jobs with priorities');
    assert.deepEqual(taken, ['lifo', 'none', 1, 3, 5, 9]);
  });

  test(`${name}: pause, resume, drain, promote, remove, deduplicated ids`, async () => {
    const queue = await makeQueue('control');
    await queue.pause();
    assert.equal(await queue.isPaused(), true);
    const done = [];
    await makeWorker('control', async (job) => done.push(job.data.n));
    for (const n of range(5)) await queue.add('job', { n });
    assert.equal(await queue.count(), 5);
    const later = await queue.add('job', { n: 'later' }, { delay: 3600000 });
    const gone = await queue.add('job', { n: 'gone' }, { delay: 3600000 });
    await gone.remove();
    assert.equal(await queue.getJob(gone.id), undefined);
    const same = await queue.add('job', { n: 'same' }, { jobId: 'fixed' });
    const again = await queue.add('job', { n: 'other' }, { jobId: 'fixed' });
    assert.deepEqual([same.id, again.id], ['fixed', 'fixed']);
    assert.deepEqual(done, []);
    await queue.resume();
    await until(() => done.length === 6, 'the jobs after the pause');
    await later.promote();
    await until(() => done.length === 7, 'the promoted job');
    assert.deepEqual(done, [0, 1, 2, 3, 4, 'same', 'later']);
    await queue.pause();
    await queue.addBulk(range(10).map((n) => ({ name: 'job', data: { n } })));
    await queue.drain();
    assert.equal(await queue.count(), 0);
  });

  test(`${name}: a flow: children first, their values at the parent`, async () => {
    const flow = await make(bull.FlowProducer, null, {});
    const events = await makeEvents('parents');
    await makeWorker('children', async (job) => job.data.n * 2, { concurrency: 4 });
    await makeWorker('parents', async (job) => {
      const values = Object.values(await job.getChildrenValues());
      return values.reduce((sum, n) => sum + n, 0);
    });
    const trees = await flow.addBulk(
      range(10).map((t) => ({
        name: 'sum',
        queueName: 'parents',
        data: {},
        children: range(5).map((n) => ({ name: 'double', queueName: 'children', data: { n: n + t } })),
      }))
    );
    const sums = await Promise.all(trees.map(({ job }) => job.waitUntilFinished(events, 12000)));
    assert.deepEqual(sums, range(10).map((t) => 2 * (0 + 1 + 2 + 3 + 4 + 5 * t)));
    const leaf = { name: 'double', queueName: 'children', data: { n: 21 } };
    const sum = (...children) => ({ name: 'sum', queueName: 'parents', data: {}, children });
    const deep = await flow.add(sum(sum(leaf)));
    assert.equal(await deep.job.waitUntilFinished(events, 12000), 42);
  });

  test(`${name}: at most 5 jobs in 200 ms, over two workers`, async () => {
    const queue = await makeQueue('limited');
    const starts = [];
    const options = { concurrency: 10, limiter: { max: 5, duration: 200 } };
    for (const _ of range(2)) await makeWorker('limited', async () => starts.push(Date.now()), options);
    const began = Date.now();
    await queue.addBulk(range(20).map((n) => ({ name: 'job', data: { n } })));
    await until(() => starts.length === 20, 'the limited jobs');
    assert.ok(starts[19] - began >= 3 * 200 - 5, `20 jobs in ${starts[19] - began} ms`);
  });

  test(`${name}: job schedulers: every few ms, by cron, changed and removed`, async () => {
    const queue = await makeQueue('schedule');
    const runs = [];
    await makeWorker('schedule', async (job) => runs.push(job.name));
    await queue.upsertJobScheduler('ticker', { every: 50 }, { name: 'tick', data: { k: 1 } });
    await queue.upsertJobScheduler('nightly', { pattern: '0 3 29 2 *' }, { name: 'night' });
    await until(() => runs.length >= 4, 'four ticks');
    assert.ok(runs.every((run) => run === 'tick'));
    const schedulers = await queue.getJobSchedulers();
    assert.deepEqual(schedulers.map(({ key }) => key).sort(), ['nightly', 'ticker']);
    assert.equal(await queue.removeJobScheduler('ticker'), true);
    assert.equal(await queue.removeJobScheduler('ticker'), false);
    // a tick that began before is still on its way
    const delayed = async () => (await queue.getDelayed()).map((job) => job.name).join();
    await until(async () => (await delayed()) === 'night', 'the nightly job to be the only one');
  });

  test(`${name}: a stalled job is taken over, a job's lock keeps others away`, async () => {
    const queue = await makeQueue('stalled');
    const fast = { lockDuration: 200, stalledInterval: 100, maxStalledCount: 3 };
    const alive = { ...fast, lockDuration: 30000 }; // it must not lose its own job where the machine is slow
    let taken = 0;
    // it takes the job and never tells anything again, as a process that was killed
    const dead = await makeWorker('stalled', undefined, { ...fast, autorun: false });
    await queue.add('job', { n: 1 });
    const token = 'dead-process';
    const job = await dead.getNextJob(token);
    assert.equal(await job.getState(), 'active');
    await makeWorker('stalled', async (again) => {
      taken += 1;
      return again.id;
    }, alive);
    await until(async () => (await job.getState()) === 'completed', 'the takeover');
    assert.equal(taken, 1);
    await assert.rejects(job.moveToCompleted('late', token, false), /lock|Missing/i);
  });
}
