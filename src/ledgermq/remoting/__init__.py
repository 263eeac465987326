"""RocketMQ's remoting protocol: frames, headers, request codes, and the asyncio ends that carry them."""
