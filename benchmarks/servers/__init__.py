"""The prediction API behind our worker and behind other WSGI servers: speed, memory, slow clients and a graceful stop.

``slow`` measures our whole replica beside many more slow clients.
"""
