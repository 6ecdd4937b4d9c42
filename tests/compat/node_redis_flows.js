'use strict';
/* What node-redis users do beside plain commands: blocking, WATCH, scanning, consumer groups. Every version and protocol. */

const { assert, test, host, port, range, until, nodeRedisMaker } = require('./support');

for (const { name, redis: library, options, old } of require('./node_redis_versions')) {
  const connect = nodeRedisMaker(library, options);
  const prefix = name.replace(/ /g, '-');
  const named = (key) => `${prefix}:${key}`;
  const duplicate = async (client) => {
    const other = client.duplicate();
    other.on('error', () => {});
    await other.connect();
    return other;
  };
  const leave = (client) => (client.close ?? client.quit).call(client);

  /* A connection of its own for one piece of work: a pool beside the client in 5, in the client in 4. */
  async function isolating(maximum) {
    if (old) {
      const client = await connect({ isolationPoolOptions: { min: 1, max: maximum } });
      return { run: (work) => client.executeIsolated(work), end: () => client.disconnect() };
    }
    const pool = library.createClientPool({ socket: { host, port }, ...options }, { minimum: 1, maximum });
    pool.on('error', () => {});
    await pool.connect();
    return { run: (work) => pool.execute(work), end: () => pool.destroy() };
  }

  test(`${name}: blocking pops on duplicates, each element to one of 20`, async () => {
    const client = await connect();
    const workers = await Promise.all(range(20).map(() => duplicate(client)));
    const key = named('jobs');
    const taken = workers.map((worker) => worker.brPop(key, 20));
    assert.equal(await client.get(named('free')), null);
    for (const i of range(20)) await client.lPush(key, `job${i}`);
    const elements = (await Promise.all(taken)).map(({ key: from, element }) => (assert.equal(from, key), element));
    assert.deepEqual(elements.sort(), range(20).map((i) => `job${i}`).sort());
    assert.equal(await client.lLen(key), 0);
    const [worker, other] = workers;
    const moved = worker.blMove(named('{m}a'), named('{m}b'), 'LEFT', 'RIGHT', 20);
    await client.rPush(named('{m}a'), 'x');
    assert.equal(await moved, 'x');
    assert.deepEqual(await client.lRange(named('{m}b'), 0, -1), ['x']);
    const least = other.bzPopMin([named('{z}1'), named('{z}2')], 20);
    await client.zAdd(named('{z}2'), [{ score: 2.5, value: 'late' }, { score: 1.5, value: 'soon' }]);
    assert.deepEqual({ ...(await least) }, { key: named('{z}2'), value: 'soon', score: 1.5 });
    assert.equal(await worker.blPop(named('nothing'), 0.02), null);
    assert.equal(await worker.blmPop(0.02, named('nothing'), 'LEFT'), null);
    await Promise.all(workers.map(leave));
  });

  test(`${name}: isolated connections: a block holds up neither the client nor the others`, async () => {
    const client = await connect();
    const { run, end } = await isolating(4);
    const blocked = run((isolated) => isolated.blPop(named('slow'), 20));
    assert.deepEqual(await Promise.all(range(50).map(() => run((isolated) => isolated.ping()))), range(50).map(() => 'PONG'));
    await client.rPush(named('slow'), 'x');
    assert.deepEqual({ ...(await blocked) }, { key: named('slow'), element: 'x' });
    await end();
  });

  test(`${name}: WATCH: a change ends in WatchError, none in EXEC, UNWATCH forgets`, async () => {
    const [client, other] = await Promise.all([connect(), connect()]);
    const key = named('{w}stock');
    await client.set(key, '10');
    await client.watch(key);
    await other.decr(key);
    await assert.rejects(client.multi().decr(key).exec(), library.WatchError);
    assert.equal(await client.get(key), '9');
    await client.watch([key, named('{w}other')]);
    assert.equal(await client.get(key), '9');
    assert.deepEqual(await client.multi().decr(key).get(key).exec(), [8, '8']);
    await client.watch(key);
    await other.set(key, '5');
    assert.equal(await client.unwatch(), 'OK');
    assert.deepEqual(await client.multi().decr(key).exec(), [4]);
    await client.watch(key);
    await client.set(key, '7');
    await assert.rejects(client.multi().get(key).exec(), library.WatchError);
  });

  test(`${name}: WATCH: 10 writers with retries lose no increment`, async () => {
    const client = await connect();
    const { run, end } = await isolating(10);
    const key = named('balance');
    await client.set(key, '0');
    let conflicts = 0;
    let readers = 0;
    const increment = () =>
      run(async (isolated) => {
        for (;;) {
          await isolated.watch(key);
          const seen = Number(await isolated.get(key));
          readers += 1;
          await until(() => readers > 1, 'a second one that has read'); // so that there is a conflict
          try {
            return await isolated.multi().set(key, String(seen + 1)).exec();
          } catch (e) {
            if (!(e instanceof library.WatchError)) throw e;
            conflicts += 1;
          }
        }
      });
    await Promise.all(range(60).map(increment));
    assert.equal(await client.get(key), '60');
    assert.ok(conflicts > 0);
    await end();
  });

  test(`${name}: MULTI: replies of all kinds, one that fails in EXEC, one that is refused before`, async () => {
    const client = await connect();
    const key = (k) => named(`{t}${k}`);
    const replies = await client
      .multi()
      .set(key('s'), 'a')
      .hSet(key('h'), { f: '1', g: '2' })
      .hGetAll(key('h'))
      .zAdd(key('z'), [{ score: 1, value: 'one' }])
      .zScore(key('z'), 'one')
      .lRange(key('none'), 0, -1)
      .get(key('none'))
      .exec();
    replies[2] = { ...replies[2] };
    assert.deepEqual(replies, ['OK', 2, { f: '1', g: '2' }, 1, 1, [], null]);
    await assert.rejects(client.multi().set(key('s'), 'b').lPush(key('s'), 'x').set(key('s'), 'c').exec());
    assert.equal(await client.get(key('s')), 'c');
    await assert.rejects(client.multi().set(key('s'), 'd').addCommand(['NOSUCHCOMMAND']).exec(), /unknown command|EXECABORT/);
    assert.equal(await client.get(key('s')), 'c');
    assert.deepEqual(await client.multi().exec(), []);
    const many = client.multi();
    for (const i of range(2000)) many.incr(key('n'));
    assert.deepEqual(await many.exec(), range(2000).map((i) => i + 1));
  });

  test(`${name}: scanIterator meets every key once at least, and those of fields and members`, async () => {
    const client = await connect();
    const keys = range(3000).map((i) => named(`scan:${i}`));
    await client.mSet(keys.map((key) => [key, 'v']));
    await client.hSet(named('scan:hash'), Object.fromEntries(range(1000).map((i) => [`f${i}`, String(i)])));
    await client.sAdd(named('scan:set'), range(1000).map(String));
    await client.zAdd(named('scan:zset'), range(1000).map((i) => ({ score: i, value: `m${i}` })));
    const collect = async (iterator) => {
      const all = [];
      for await (const one of iterator) all.push(...(Array.isArray(one) ? one : [one]));
      return all;
    };
    const strings = await collect(client.scanIterator({ MATCH: named('scan:*'), COUNT: 100, TYPE: 'string' }));
    assert.deepEqual([...new Set(strings)].sort(), [...keys].sort());
    const sets = await collect(client.scanIterator({ MATCH: named('scan:*'), TYPE: 'zset' }));
    assert.deepEqual([...new Set(sets)], [named('scan:zset')]);
    const fields = await collect(client.hScanIterator(named('scan:hash'), { COUNT: 50 }));
    assert.equal(new Set(fields.map(({ field }) => field)).size, 1000);
    assert.ok(fields.every(({ field, value }) => field === `f${value}`));
    assert.equal(new Set(await collect(client.sScanIterator(named('scan:set')))).size, 1000);
    const members = await collect(client.zScanIterator(named('scan:zset')));
    assert.ok(members.every(({ score, value }) => value === `m${score}`));
    assert.equal(new Set(members.map(({ value }) => value)).size, 1000);
    await client.unlink([...keys, named('scan:hash'), named('scan:set'), named('scan:zset')]);
  });

  /* node-redis 5 leaves the entries of RESP3 as they came. */
  const entriesOf = (reply, stream) => {
    if (reply === null) return [];
    if (Array.isArray(reply)) return reply[0].messages.map(({ id, message }) => [id, message.n]);
    return reply[stream].map(([id, [, n]]) => [id, n]);
  };

  test(`${name}: a consumer group of 3 that blocks takes 300 entries, each once`, async () => {
    const client = await connect();
    const stream = named('orders');
    assert.equal(await client.xGroupCreate(stream, 'workers', '$', { MKSTREAM: true }), 'OK');
    // to Redis 7.0 a consumer that comes too late for any entry is none
    for (const w of range(3)) await client.xGroupCreateConsumer(stream, 'workers', `w${w}`);
    const seen = [];
    const connections = await Promise.all(range(3).map(() => duplicate(client)));
    const workers = connections.map(async (connection, w) => {
      while (seen.length < 300) {
        const reply = await connection.xReadGroup('workers', `w${w}`, { key: stream, id: '>' }, { COUNT: 7, BLOCK: 50 });
        const entries = entriesOf(reply, stream);
        for (const [id, n] of entries) {
          seen.push(n);
          if (Number(n) % 10) assert.equal(await client.xAck(stream, 'workers', id), 1);
        }
      }
      await leave(connection);
    });
    for (const i of range(300)) await client.xAdd(stream, '*', { n: String(i) });
    await Promise.all(workers);
    assert.deepEqual(seen.map(Number).sort((a, b) => a - b), range(300));
    const left = await client.xPendingRange(stream, 'workers', '-', '+', 100);
    assert.equal(left.length, 30);
    const claimed = await client.xClaim(stream, 'workers', 'rescuer', 0, left.slice(0, 10).map(({ id }) => id));
    assert.equal(claimed.length, 10);
    const rest = await client.xAutoClaim(stream, 'workers', 'rescuer', 0, '0-0', { COUNT: 100 });
    assert.equal(rest.messages.length, 30);
    const mine = await client.xPending(stream, 'workers');
    assert.deepEqual(mine.consumers.map((consumer) => ({ ...consumer })), [{ name: 'rescuer', deliveriesCounter: 30 }]);
    assert.equal(await client.xAck(stream, 'workers', rest.messages.map(({ id }) => id)), 30);
    const [group] = await client.xInfoGroups(stream);
    assert.deepEqual([group.name, Number(group.pending), Number(group.consumers)], ['workers', 0, 4]);
    assert.equal(await client.xTrim(stream, 'MAXLEN', 100), 200);
    assert.equal(await client.xLen(stream), 100);
  });

  test(`${name}: CLIENT UNBLOCK wakes a blocked one, and a killed one loses no element`, async () => {
    const client = await connect();
    const [blocked, dying] = await Promise.all([duplicate(client), duplicate(client)]);
    const ids = await Promise.all([blocked, dying].map((one) => one.sendCommand(['CLIENT', 'ID'])));
    const woken = blocked.blPop(named('unblock'), 20);
    await until(async () => (await client.sendCommand(['CLIENT', 'UNBLOCK', String(ids[0])])) === 1, 'the block');
    assert.equal(await woken, null);
    const lost = dying.blPop(named('kill'), 20).catch((e) => e);
    await until(async () => /cmd=blpop/.test(await client.sendCommand(['CLIENT', 'LIST', 'ID', String(ids[1])])), 'the block');
    assert.equal(await client.sendCommand(['CLIENT', 'KILL', 'ID', String(ids[1])]), 1);
    await client.rPush(named('kill'), 'x');
    // what its node gave it in the moment of its end is put back
    await until(async () => (await client.lLen(named('kill'))) === 1, 'the element to be there');
    assert.equal(await client.lPop(named('kill')), 'x');
    assert.ok((await lost) instanceof Error);
    await leave(blocked);
  });
}
