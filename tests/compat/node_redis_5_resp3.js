'use strict';
/* node-redis 5, RESP3, with the commands whose replies it calls unstable there. */
require('./node_redis_suite')(require('redis5'), { RESP: 3, unstableResp3: true });
