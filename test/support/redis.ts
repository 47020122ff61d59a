// The run's Redis (setup.ts), shared by all files: each keeps to its prefix.

/** Where Redis is, and what this file's names begin with. */
export function testRedis(): { url: string; prefix: string } {
  const url = process.env['BELFRY_TEST_REDIS_URL'];
  if (url === undefined) {
    throw new Error(
      'this test needs Redis: apt-get install redis-server or set BELFRY_TEST_REDIS_URL, and run with --test-global-setup=test/support/setup.ts',
    );
  }
  return { url, prefix: `test-${process.pid}` };
}
