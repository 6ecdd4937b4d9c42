'use strict';
/* node-redis 6, RESP2. */
require('./node_redis_suite')(require('redis'), { RESP: 2, commandOptions: { timeout: 60000 } });
