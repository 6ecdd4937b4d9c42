'use strict';
/* node-redis 5, RESP2 as it is by default. */
require('./node_redis_suite')(require('redis5'));
