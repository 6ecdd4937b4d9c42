'use strict';
/*
 * What applications build from the commands of Redis, each pattern whole and checked against a model, through ioredis and
 * through node-redis. db(...) sends one command, db.multi([...]) a transaction (null when WATCH saw a change).
 */

const { assert, test, script, range, until, ioredisMaker, nodeRedisMaker } = require('./support');

function ioredisDriver(Redis, options) {
  const make = ioredisMaker(Redis);
  return async () => {
    const client = make(options);
    const db = (...args) => client.call(...args.map(String));
    db.multi = async (commands) => {
      const replies = await client.multi(commands.map(([command, ...args]) => ['call', command, ...args.map(String)])).exec();
      return replies && replies.map(([error, reply]) => (error ? Promise.reject(error) : reply));
    };
    return db;
  };
}

function nodeRedisDriver(library, options) {
  const make = nodeRedisMaker(library, options);
  return async () => {
    const client = await make();
    const db = (...args) => client.sendCommand(args.map(String));
    db.multi = async (commands) => {
      const multi = client.multi();
      for (const command of commands) multi.addCommand(command.map(String));
      return multi.exec().catch((e) => (e instanceof library.WatchError ? null : Promise.reject(e)));
    };
    return db;
  };
}

const drivers = [
  { name: 'ioredis 5', connect: ioredisDriver(require('ioredis'), {}) },
  { name: 'node-redis 4', connect: nodeRedisDriver(require('redis4'), {}) },
  { name: 'node-redis 6', connect: nodeRedisDriver(require('redis'), { RESP: 2, commandOptions: { timeout: 60000 } }) },
];

const sha = (text) => require('node:crypto').createHash('sha1').update(text).digest('hex');

/* EVALSHA first, EVAL when the server does not know the script. */
async function run(db, text, keys, args) {
  try {
    return await db('EVALSHA', sha(text), keys.length, ...keys, ...args);
  } catch (e) {
    if (!/^NOSCRIPT/.test(e.message)) throw e;
    return db('EVAL', text, keys.length, ...keys, ...args);
  }
}

const unflatten = (list) => Object.fromEntries(range(list.length / 2).map((i) => [list[2 * i], list[2 * i + 1]]));
const connections = (connect, n) => Promise.all(range(n).map(() => connect()));

for (const { name, connect } of drivers) {
  const at = (key) => `${name.replace(/ /g, '-')}:${key}`;

  test(`${name}: tournament ranking: 3,000 results at once, ranks, ties, pages, a season from its rounds`, async () => {
    const db = await connect();
    const players = range(150).map((i) => `p${String(i).padStart(3, '0')}`);
    const totals = new Map(players.map((player) => [player, 0]));
    const rounds = [at('{cup}round:1'), at('{cup}round:2'), at('{cup}round:3')];
    await Promise.all(
      range(3000).map((i) => {
        const player = players[(i * 37) % 150];
        const points = (i * i) % 11;
        totals.set(player, totals.get(player) + points);
        return db('ZINCRBY', rounds[i % 3], points, player);
      })
    );
    assert.equal(await db('ZUNIONSTORE', at('{cup}season'), 3, ...rounds), 150);
    // highest first, equal scores by name backwards, as ZREVRANGE has it
    const model = [...totals].sort(([a, x], [b, y]) => y - x || (a < b ? 1 : -1));
    const board = await db('ZREVRANGE', at('{cup}season'), 0, -1, 'WITHSCORES');
    assert.deepEqual(board, model.flatMap(([player, points]) => [player, String(points)]));
    for (const rank of [0, 1, 74, 149]) {
      const [player, points] = model[rank];
      assert.equal(await db('ZREVRANK', at('{cup}season'), player), rank);
      assert.equal(Number(await db('ZSCORE', at('{cup}season'), player)), points);
    }
    const around = await db('ZREVRANGE', at('{cup}season'), 72, 76);
    assert.deepEqual(around, model.slice(72, 77).map(([player]) => player));
    const better = model.filter(([, points]) => points > model[74][1]).length;
    assert.equal(await db('ZCOUNT', at('{cup}season'), `(${model[74][1]}`, '+inf'), better);
    assert.equal(await db('ZREMRANGEBYRANK', at('{cup}season'), 0, -11), 140);
    assert.deepEqual(await db('ZRANGE', at('{cup}season'), 0, -1, 'REV'), model.slice(0, 10).map(([player]) => player));
  });

  test(`${name}: orders stream: a consumer dies, XPENDING, XCLAIM and XAUTOCLAIM, a dead letter, trimming`, async () => {
    const db = await connect();
    const stream = at('{orders}');
    await db('XGROUP', 'CREATE', stream, 'billing', '$', 'MKSTREAM');
    const ids = await Promise.all(range(200).map((i) => db('XADD', stream, 'MAXLEN', '~', 100000, '*', 'order', i, 'total', i * 10)));
    const entries = (reply) => (reply ? reply[0][1].map(([id, fields]) => [id, unflatten(fields).order]) : []);
    const dead = entries(await db('XREADGROUP', 'GROUP', 'billing', 'dead', 'COUNT', 50, 'STREAMS', stream, '>'));
    assert.equal(dead.length, 50);
    const billed = [];
    await Promise.all(
      (await connections(connect, 3)).map(async (own, w) => {
        for (;;) {
          const batch = entries(await own('XREADGROUP', 'GROUP', 'billing', `w${w}`, 'COUNT', 10, 'BLOCK', 30, 'STREAMS', stream, '>'));
          if (!batch.length) return;
          for (const [id, order] of batch) {
            // the poison order is never acknowledged
            if (order === '120') continue;
            billed.push(order);
            assert.equal(await own('XACK', stream, 'billing', id), 1);
          }
        }
      })
    );
    assert.equal(billed.length, 149);
    const [count, low, , perConsumer] = await db('XPENDING', stream, 'billing');
    assert.deepEqual([count, low, unflatten(perConsumer.flat()).dead], [51, dead[0][0], '50']);
    const first = (await db('XPENDING', stream, 'billing', '-', '+', 20, 'dead')).map(([id]) => id);
    assert.deepEqual(first, dead.slice(0, 20).map(([id]) => id));
    const claimed = await db('XCLAIM', stream, 'billing', 'w0', 0, ...first);
    assert.deepEqual(claimed.map(([id]) => id), first);
    let cursor = '0-0';
    const rescued = [];
    do {
      const [next, batch] = await db('XAUTOCLAIM', stream, 'billing', 'w1', 0, cursor, 'COUNT', 10);
      rescued.push(...batch.map(([id, fields]) => [id, unflatten(fields).order]));
      cursor = next;
    } while (cursor !== '0-0');
    for (const [id, order] of rescued) {
      if (order === '120') continue;
      billed.push(order);
      await db('XACK', stream, 'billing', id);
    }
    assert.deepEqual(billed.map(Number).sort((a, b) => a - b), range(200).filter((n) => n !== 120));
    const [[poison, , , deliveries]] = await db('XPENDING', stream, 'billing', '-', '+', 10);
    assert.equal(deliveries, 2);
    const [[, fields]] = await db('XRANGE', stream, poison, poison);
    const replies = await db.multi([['XADD', at('{orders}:dead'), '*', ...fields], ['XACK', stream, 'billing', poison]]);
    assert.equal(await replies[1], 1);
    assert.equal((await db('XPENDING', stream, 'billing'))[0], 0);
    assert.equal(await db('XTRIM', stream, 'MINID', ids[150]), 150);
    assert.equal(await db('XLEN', stream), 50);
    assert.equal(await db('XTRIM', stream, 'MAXLEN', 10), 40);
    assert.equal((await db('XRANGE', stream, '-', '+'))[0][0], ids[190]);
  });

  test(`${name}: sliding window and token bucket in Lua: exactly as many as allowed, over all shards`, async () => {
    const clients = await connections(connect, 4);
    await clients[0]('SCRIPT', 'FLUSH');
    const now = 1700000000000;
    // the keys expire by the real clock, so that a window is longer than any pause of the machine
    const passes = async (attempts) => (await Promise.all(attempts)).filter(([allowed]) => allowed === 1).length;
    for (const u of range(20)) {
      const window = range(12).map((i) => run(clients[i % 4], script('limiter_window'), [at(`window:${u}`)], [now, 60000, 5, `id${i}`]));
      assert.equal(await passes(window), 5);
      const bucket = range(12).map((i) => run(clients[i % 4], script('limiter_bucket'), [at(`bucket:${u}`)], [now, 6, 1, 1]));
      assert.equal(await passes(bucket), 6);
    }
    const later = range(12).map((i) => run(clients[i % 4], script('limiter_bucket'), [at('bucket:19')], [now + 3000, 6, 1, 1]));
    assert.equal(await passes(later), 3);
    const next = range(12).map((i) => run(clients[i % 4], script('limiter_window'), [at('window:0')], [now + 60001, 60000, 5, `later${i}`]));
    assert.equal(await passes(next), 5);
  });

  test(`${name}: limiter by MULTI: INCR and EXPIRE NX together`, async () => {
    const clients = await connections(connect, 5);
    const hit = async (db, key) => {
      const [count, ttl] = await db.multi([['INCR', key], ['EXPIRE', key, 30, 'NX'], ['TTL', key]]).then((r) => [r[0], r[2]]);
      assert.ok((await ttl) > 25);
      return (await count) <= 10;
    };
    for (const u of range(10)) {
      const allowed = await Promise.all(range(25).map((i) => hit(clients[i % 5], at(`multi:${u}`))));
      assert.equal(allowed.filter(Boolean).length, 10);
    }
  });

  test(`${name}: a lock by SET NX PX, released by WATCH and MULTI only by its owner`, async () => {
    const [mine, other] = await connections(connect, 2);
    const key = at('lock:report');
    const take = (db, token) => db('SET', key, token, 'NX', 'PX', 20000);
    const release = async (db, token, between = async () => {}) => {
      await db('WATCH', key);
      if ((await db('GET', key)) !== token) {
        await db('UNWATCH');
        return false;
      }
      await between();
      return (await db.multi([['DEL', key]])) !== null;
    };
    assert.equal(await take(mine, 'a'), 'OK');
    assert.equal(await take(other, 'b'), null);
    assert.equal(await release(other, 'b'), false);
    assert.equal(await release(mine, 'a'), true);
    assert.equal(await take(other, 'b'), 'OK');
    const stolen = async () => {
      await mine('DEL', key);
      await take(mine, 'c');
    };
    assert.equal(await release(other, 'b', stolen), false);
    assert.equal(await mine('GET', key), 'c');
    assert.equal(await release(mine, 'c'), true);
    const compareAndDelete = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
    await take(mine, 'd');
    assert.equal(await run(other, compareAndDelete, [key], ['b']), 0);
    assert.equal(await run(mine, compareAndDelete, [key], ['d']), 1);
  });

  test(`${name}: deploy locks: SETNX and a TTL, one winner of 30, free after the TTL`, async () => {
    const clients = await connections(connect, 30);
    const won = await Promise.all(clients.map((db, i) => db('SETNX', at('deploy:web'), `host${i}`)));
    assert.equal(won.filter((reply) => reply === 1).length, 1);
    const winner = won.indexOf(1);
    assert.equal(await clients[winner]('EXPIRE', at('deploy:web'), 60), 1);
    assert.equal(await clients[0]('GET', at('deploy:web')), `host${winner}`);
    assert.equal(await clients[1]('SET', at('deploy:web'), 'late', 'NX', 'EX', 60), null);
    assert.equal(await clients[winner]('PEXPIRE', at('deploy:web'), 1), 1);
    await until(async () => (await clients[2]('SETNX', at('deploy:web'), 'next')) === 1, 'the lock to be free');
    assert.equal(await clients[2]('TTL', at('deploy:web')), -1);
    assert.equal(await clients[2]('GETDEL', at('deploy:web')), 'next');
  });

  for (const [move, ...direction] of [['BRPOPLPUSH'], ['BLMOVE', 'RIGHT', 'LEFT']]) {
    test(`${name}: jobs by list with a processing list (${move}): nothing is lost with a worker that dies`, async () => {
      const db = await connect();
      const [queue, processing] = [at(`{jobs-${move}}`), at(`{jobs-${move}}:processing`)];
      const done = [];
      const workers = (await connections(connect, 4)).map(async (own, w) => {
        for (let handled = 0; ; handled++) {
          const job = await own(move, queue, processing, ...direction, 20);
          if (job.startsWith('stop')) return own('LREM', processing, 1, job);
          // two of the four die with a job in hand
          if (w < 2 && handled === 5) return job;
          done.push(job);
          assert.equal(await own('LREM', processing, 1, job), 1);
        }
      });
      for (const i of range(100)) await db('LPUSH', queue, `job${i}`);
      const lost = [await workers[0], await workers[1]];
      assert.deepEqual((await db('LRANGE', processing, 0, -1)).filter((job) => lost.includes(job)).sort(), lost.sort());
      await until(() => done.length === 98, 'the others to do the rest');
      await until(async () => (await db('LLEN', processing)) === 2, 'what is left');
      for (const _ of lost) assert.ok(lost.includes(await db('LMOVE', processing, queue, 'RIGHT', 'RIGHT')));
      await until(() => done.length === 100, 'the jobs that were left');
      await db('LPUSH', queue, 'stop1', 'stop2');
      await Promise.all(workers);
      assert.deepEqual(done.sort(), range(100).map((i) => `job${i}`).sort());
      assert.equal(await db('EXISTS', queue, processing), 0);
    });
  }

  test(`${name}: delayed jobs by sorted set, taken by one of many`, async () => {
    const clients = await connections(connect, 5);
    const key = at('{later}');
    await Promise.all(range(60).map((i) => clients[0]('ZADD', key, i < 50 ? i : 1e15, `job${i}`)));
    const take = "local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)[1]\n" +
      "if due then redis.call('ZREM', KEYS[1], due) redis.call('RPUSH', KEYS[2], due) end return due";
    const taken = [];
    await Promise.all(
      clients.map(async (db) => {
        for (let job; (job = await run(db, take, [key, at('{later}:ready')], [1000])); ) taken.push(job);
      })
    );
    assert.deepEqual([...taken].sort(), range(50).map((i) => `job${i}`).sort());
    assert.deepEqual(await clients[0]('LRANGE', at('{later}:ready'), 0, -1), range(50).map((i) => `job${i}`));
    assert.equal(await clients[0]('ZCARD', key), 10);
  });

  test(`${name}: sessions, one a user: the login before is ended`, async () => {
    const clients = await connections(connect, 5);
    const login = async (db, user, id) => {
      await db.multi([['HSET', at(`{s:${id}}`), 'user', user, 'at', 1], ['EXPIRE', at(`{s:${id}}`), 1800]]);
      const old = await db('SET', at(`user:${user}`), id, 'EX', 1800, 'GET');
      if (old) await db('DEL', at(`{s:${old}}`));
    };
    await Promise.all(range(200).map((i) => login(clients[i % 5], `u${i % 20}`, `id${i}`)));
    for (const u of range(20)) {
      const current = await clients[0]('GET', at(`user:u${u}`));
      const alive = await Promise.all(range(10).map((k) => clients[0]('EXISTS', at(`{s:id${u + 20 * k}}`))));
      assert.equal(alive.reduce((sum, n) => sum + n), 1);
      assert.deepEqual(unflatten(await clients[0]('HGETALL', at(`{s:${current}}`))), { user: `u${u}`, at: '1' });
      assert.ok((await clients[0]('TTL', at(`{s:${current}}`))) > 1700);
    }
  });

  test(`${name}: cache-aside without a stampede, emptied by a key version`, async () => {
    const clients = await connections(connect, 10);
    let loads = 0;
    const read = async (db, id) => {
      const version = (await db('GET', at('catalog:version'))) ?? '0';
      const key = at(`catalog:v${version}:${id}`);
      for (;;) {
        const hit = await db('GET', key);
        if (hit !== null) return hit;
        if ((await db('SET', `${key}:loading`, '1', 'NX', 'PX', 5000)) === 'OK') {
          // another may have loaded it between the look and the lock
          const late = await db('GET', key);
          if (late === null) {
            loads += 1;
            await db('SET', key, `row ${id} of ${version}`, 'EX', 300);
          }
          await db('DEL', `${key}:loading`);
        }
      }
    };
    const all = () => Promise.all(range(200).map((i) => read(clients[i % 10], i % 20)));
    assert.deepEqual(await all(), range(200).map((i) => `row ${i % 20} of 0`));
    assert.equal(loads, 20);
    assert.equal(await clients[0]('INCR', at('catalog:version')), 1);
    assert.deepEqual(await all(), range(200).map((i) => `row ${i % 20} of 1`));
    assert.equal(loads, 40);
  });

  test(`${name}: write-behind counters: what is flushed and what is left add up`, async () => {
    const clients = await connections(connect, 6);
    const key = at('{views}');
    const stored = new Map();
    let writing = true;
    const flush = async (db) => {
      if (!(await db('EXISTS', key))) return;
      const replies = await db.multi([['RENAME', key, `${key}:flushing`], ['HGETALL', `${key}:flushing`], ['DEL', `${key}:flushing`]]);
      for (const [page, n] of Object.entries(unflatten(await replies[1]))) stored.set(page, (stored.get(page) ?? 0) + Number(n));
    };
    const flusher = (async () => {
      while (writing) await flush(clients[5]);
    })();
    await Promise.all(range(2000).map((i) => clients[i % 5]('HINCRBY', key, `page${i % 13}`, (i % 3) + 1)));
    writing = false;
    await flusher;
    await flush(clients[5]);
    const expected = new Map();
    for (const i of range(2000)) expected.set(`page${i % 13}`, (expected.get(`page${i % 13}`) ?? 0) + (i % 3) + 1);
    assert.deepEqual(new Map([...stored].sort()), new Map([...expected].sort()));
  });

  test(`${name}: a shop's stock by WATCH: never sold twice`, async () => {
    const clients = await connections(connect, 8);
    await clients[0]('SET', at('{stock}left'), 20);
    const buy = async (db, who) => {
      for (;;) {
        await db('WATCH', at('{stock}left'));
        const left = Number(await db('GET', at('{stock}left')));
        if (left === 0) {
          await db('UNWATCH');
          return false;
        }
        const sold = await db.multi([['DECR', at('{stock}left')], ['SADD', at('{stock}buyers'), who]]);
        if (sold) return true;
      }
    };
    let sold = 0;
    await Promise.all(clients.map(async (db, w) => { for (const i of range(5)) if (await buy(db, `buyer${w}-${i}`)) sold += 1; }));
    assert.equal(sold, 20);
    assert.deepEqual([await clients[0]('GET', at('{stock}left')), await clients[0]('SCARD', at('{stock}buyers'))], ['0', 20]);
  });

  test(`${name}: daily visitors by bitmap and HyperLogLog, places by distance`, async () => {
    const db = await connect();
    await Promise.all(range(500).map((i) => db('SETBIT', at(`{day}${i % 2}`), i, 1)));
    assert.equal(await db('BITCOUNT', at('{day}0')), 250);
    await db('BITOP', 'OR', at('{day}both'), at('{day}0'), at('{day}1'));
    assert.equal(await db('BITCOUNT', at('{day}both')), 500);
    await Promise.all(range(300).map((i) => db('PFADD', at(`{uv}${i % 3}`), `visitor${i % 100}`)));
    const unique = await db('PFCOUNT', at('{uv}0'), at('{uv}1'), at('{uv}2'));
    assert.ok(unique >= 97 && unique <= 103, String(unique));
    await db('GEOADD', at('places'), 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania', 12.5, 41.9, 'Roma');
    assert.deepEqual(await db('GEOSEARCH', at('places'), 'FROMLONLAT', 15, 37, 'BYRADIUS', 200, 'km', 'ASC'), ['Catania', 'Palermo']);
  });

  test(`${name}: 50,000 operations at once, every reply right`, async () => {
    const clients = await connections(connect, 10);
    const replies = await Promise.all(
      range(50000).map((i) => {
        const db = clients[i % 10];
        const key = at(`op:${i % 5000}`);
        // of one key all come by one connection, so their order is known
        const round = Math.floor(i / 5000);
        if (round === 0) return db('SET', key, i);
        if (round === 9) return db('GET', key);
        return round % 2 ? db('INCRBY', key, round) : db('STRLEN', key);
      })
    );
    const bumps = [0, 1, 1, 4, 4, 9, 9, 16, 16, 16];
    for (const [i, reply] of replies.entries()) {
      const round = Math.floor(i / 5000);
      const value = (i % 5000) + bumps[round];
      const expected = round === 0 ? 'OK' : round === 9 ? String(value) : round % 2 ? value : String(value).length;
      if (reply !== expected) assert.equal(reply, expected, `operation ${i}`);
    }
  });
}
