"""`points` of a release that keeps another projection: twice the buckets, as one constant says."""

import sinks.redis_keys

sinks.redis_keys.BUCKETS *= 2

if __name__ == "__main__":
    from stream.cli import main

    main()
