"""librdkafka's producer and consumer by its C interface: no Python object for a message.

confluent-kafka brings the library, and all other clients. Its own producer takes a Python object for each message and
calls back for each acknowledgement; its consumer makes an object of each message: more work than all that librdkafka
does. Declarations are those of librdkafka 2's rdkafka.h on 64 bits.
"""
