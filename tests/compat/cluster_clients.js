'use strict';
/*
 * Clients that speak the cluster protocol, pointed at the one port: ioredis.Cluster and node-redis' createCluster must
 * find a cluster there that owns every slot, and must work as with any.
 */

const { assert, test, host, port, range, until, inbox, script } = require('./support');
const nodeTest = require('node:test');

const slots = 16384;

for (const { name, Redis, options } of require('./ioredis_versions')) {
  const opened = [];
  nodeTest.after(() => opened.forEach((cluster) => cluster.disconnect()));
  const connect = (more = {}) => {
    const cluster = new Redis.Cluster([{ host, port }], { redisOptions: { maxRetriesPerRequest: 0, ...options }, ...more });
    opened.push(cluster);
    return cluster;
  };
  const named = (key) => `${name.replace(/ /g, '-')}:${key}`;

  test(`${name} Cluster: finds its nodes, serves keys of all slots`, async () => {
    const cluster = connect();
    assert.equal(await cluster.set(named('one'), '1'), 'OK');
    assert.ok(cluster.nodes('master').length >= 1);
    assert.equal(cluster.slots.filter((nodes) => nodes && nodes.length > 0).length, slots);
    await Promise.all(range(500).map((i) => cluster.set(named(`k${i}`), i)));
    assert.deepEqual(await Promise.all(range(500).map((i) => cluster.get(named(`k${i}`)))), range(500).map(String));
    const [first] = await cluster.cluster('SLOTS');
    assert.deepEqual([typeof first[0], typeof first[1], first[2].length >= 3], ['number', 'number', true]);
    assert.match(await cluster.cluster('INFO'), /cluster_state:ok\r\ncluster_slots_assigned:16384\r\n/);
    assert.equal(await cluster.cluster('KEYSLOT', 'foo'), 12182);
    await assert.rejects(cluster.lpush(named('one'), 'x'), /WRONGTYPE/);
    assert.equal(await cluster.quit(), 'OK');
  });

  test(`${name} Cluster: pipelines over slots, MULTI, scripts, streams, blocking pops`, async () => {
    const cluster = connect({ scripts: { bucket: { numberOfKeys: 1, lua: script('limiter_bucket') } } });
    await cluster.get(named('first'));
    const replies = await cluster.pipeline(range(200).map((i) => ['incrby', named(`{s${i % 50}}n`), i])).exec();
    assert.equal(replies.length, 200);
    assert.ok(replies.every(([error]) => error === null));
    const key = named('{tag}a');
    assert.deepEqual(await cluster.multi().set(key, '1').incr(key).get(key).exec(), [[null, 'OK'], [null, 2], [null, '2']]);
    for (const i of range(20)) assert.deepEqual(await cluster.bucket(named(`bucket:${i}`), 1700000000000, 5, 1, 2), [1, 3]);
    const pop = connect().blpop(named('queue'), 10);
    await cluster.rpush(named('queue'), 'x');
    assert.deepEqual(await pop, [named('queue'), 'x']);
    const id = await cluster.xadd(named('stream'), '*', 'f', 'v');
    assert.deepEqual(await cluster.xrange(named('stream'), '-', '+'), [[id, ['f', 'v']]]);
  });

  test(`${name} Cluster: pub/sub, patterns and sharded channels`, async () => {
    const [publisher, subscriber] = [connect(), connect({ shardedSubscribers: true })];
    const [plain, pattern, sharded] = [inbox(), inbox(), inbox()];
    subscriber.on('message', plain.push);
    subscriber.on('pmessage', pattern.push);
    subscriber.on('smessage', sharded.push);
    await publisher.get(named('first'));
    await subscriber.subscribe(named('a'));
    await subscriber.psubscribe(named('*'));
    const channels = range(10).map((i) => named(`{c${i}}`));
    for (const channel of channels) await subscriber.ssubscribe(channel);
    assert.equal(await publisher.publish(named('a'), 'm'), 2);
    assert.equal(await publisher.publish(named('b'), 'n'), 1);
    for (const channel of channels) assert.equal(await publisher.spublish(channel, 's'), 1);
    assert.deepEqual(await plain.wait(1), [[named('a'), 'm']]);
    assert.deepEqual(await pattern.wait(2), [[named('*'), named('a'), 'm'], [named('*'), named('b'), 'n']]);
    assert.deepEqual((await sharded.wait(10)).map(([channel]) => channel).sort(), [...channels].sort());
  });

  test(`${name} Cluster: scaleReads, READONLY and READWRITE`, async () => {
    for (const scaleReads of ['slave', 'all', 'master']) {
      const cluster = connect({ scaleReads });
      await cluster.set(named('read'), scaleReads);
      await until(async () => (await cluster.get(named('read'))) === scaleReads, 'the value');
      await cluster.quit();
    }
  });
}

for (const { name, redis: library, options } of require('./node_redis_versions')) {
  const opened = [];
  nodeTest.after(() => Promise.all(opened.map((cluster) => (cluster.destroy ?? cluster.disconnect).call(cluster))));
  const connect = async (more = {}) => {
    const cluster = library.createCluster({ rootNodes: [{ socket: { host, port } }], ...options, ...more });
    cluster.on('error', () => {});
    await cluster.connect();
    opened.push(cluster);
    return cluster;
  };
  const named = (key) => `cluster-${name.replace(/ /g, '-')}:${key}`;

  test(`${name} createCluster: keys of all slots, MULTI, scripts`, async () => {
    const cluster = await connect();
    assert.ok(cluster.masters.length >= 1);
    assert.equal(cluster.slots.filter(Boolean).length, slots);
    await Promise.all(range(300).map((i) => cluster.set(named(`k${i}`), String(i))));
    assert.deepEqual(await Promise.all(range(300).map((i) => cluster.get(named(`k${i}`)))), range(300).map(String));
    const key = named('{tag}a');
    assert.deepEqual(await cluster.multi().set(key, '1').incr(key).get(key).exec(), ['OK', 2, '2']);
    assert.equal(await cluster.eval('return ARGV[1] .. KEYS[1]', { keys: [key], arguments: ['>'] }), `>${key}`);
    assert.deepEqual({ ...(await cluster.hSet(named('h'), 'f', 'v').then(() => cluster.hGetAll(named('h')))) }, { f: 'v' });
  });

  test(`${name} createCluster: pub/sub, sharded channels, reads of replicas`, async () => {
    const [publisher, subscriber] = [await connect({ useReplicas: true }), await connect()];
    const [plain, sharded] = [inbox(), inbox()];
    await subscriber.subscribe(named('a'), plain.push);
    await subscriber.sSubscribe(named('{c}'), sharded.push);
    assert.equal(await publisher.publish(named('a'), 'm'), 1);
    assert.equal(await publisher.sPublish(named('{c}'), 's'), 1);
    assert.deepEqual(await plain.wait(1), [['m', named('a')]]);
    assert.deepEqual(await sharded.wait(1), [['s', named('{c}')]]);
    await publisher.set(named('read'), 'x');
    await until(async () => (await publisher.get(named('read'))) === 'x', 'the value');
  });
}
