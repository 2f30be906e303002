"""Generated wire types of package recsys.v1. Make them anew with `make protos`."""
