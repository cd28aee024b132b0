"""The registry's wire protocol: messages, their words and order, and acknowledgements.

Pure: no module of this package knows trio, a clock, randomness, sockets, files or logging. The
package imports none of its modules, so that the message classes alone load neither cattrs nor
orjson.
"""
