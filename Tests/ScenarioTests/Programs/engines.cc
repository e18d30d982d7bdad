// engines leveldb|rocksdb|rocksdb-direct|rocksdb-mapped|lmdb|lmdb-mapped load DIRECTORY COUNT     writes until COUNT keys are there, 0: for ever
// engines ENGINE check DIRECTORY                                       reads "KEY" lines, says what is not there as written
//
// Every tenth write is durable; what was durable then is printed, one key a line, once the engine has returned. Between
// them keys are written over and removed, so that files are merged and trimmed.
#include <leveldb/db.h>
#include <leveldb/write_batch.h>
#include <lmdb.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <sys/stat.h>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

namespace {

void demand(bool ok, const std::string &what) {
    if (ok) return;
    fprintf(stderr, "engines: %s\n", what.c_str());
    exit(1);
}

struct Engine {
    virtual ~Engine() = default;
    virtual void put(const std::string &key, const std::string &value, bool durable) = 0;
    virtual void remove(const std::string &key) = 0;
    virtual bool get(const std::string &key, std::string &value) = 0;
    virtual void tidy() {}
};

struct LevelDB : Engine {
    std::unique_ptr<leveldb::DB> db;
    explicit LevelDB(const std::string &path) {
        leveldb::Options options;
        options.create_if_missing = true;
        options.write_buffer_size = 128 << 10;
        leveldb::DB *opened = nullptr;
        auto status = leveldb::DB::Open(options, path, &opened);
        demand(status.ok(), status.ToString());
        db.reset(opened);
    }
    void put(const std::string &key, const std::string &value, bool durable) override {
        leveldb::WriteOptions options;
        options.sync = durable;
        auto status = db->Put(options, key, value);
        demand(status.ok(), status.ToString());
    }
    void remove(const std::string &key) override { demand(db->Delete({}, key).ok(), "Delete"); }
    bool get(const std::string &key, std::string &value) override { return db->Get({}, key, &value).ok(); }
    void tidy() override { db->CompactRange(nullptr, nullptr); }
};

struct RocksDB : Engine {
    std::unique_ptr<rocksdb::DB> db;
    RocksDB(const std::string &path, bool direct, bool mapped) {
        rocksdb::Options options;
        options.create_if_missing = true;
        options.write_buffer_size = 256 << 10;
        options.use_direct_reads = options.use_direct_io_for_flush_and_compaction = direct;
        options.allow_mmap_writes = mapped;
        rocksdb::DB *opened = nullptr;
        auto status = rocksdb::DB::Open(options, path, &opened);
        demand(status.ok(), status.ToString());
        db.reset(opened);
    }
    void put(const std::string &key, const std::string &value, bool durable) override {
        rocksdb::WriteOptions options;
        options.sync = durable;
        auto status = db->Put(options, key, value);
        demand(status.ok(), status.ToString());
    }
    void remove(const std::string &key) override { demand(db->Delete({}, key).ok(), "Delete"); }
    bool get(const std::string &key, std::string &value) override { return db->Get({}, key, &value).ok(); }
    void tidy() override { demand(db->CompactRange({}, nullptr, nullptr).ok(), "CompactRange"); }
};

// Each of its transactions is durable.
struct LMDB : Engine {
    MDB_env *environment = nullptr;
    MDB_dbi table = 0;
    LMDB(const std::string &path, unsigned flags) {
        mkdir(path.c_str(), 0755);
        int error = mdb_env_create(&environment);
        if (error == 0) error = mdb_env_set_mapsize(environment, 256 << 20);
        if (error == 0) error = mdb_env_open(environment, path.c_str(), flags, 0644);
        demand(error == 0, mdb_strerror(error));
        MDB_txn *transaction = begin(0);
        demand(mdb_dbi_open(transaction, nullptr, 0, &table) == 0, "mdb_dbi_open");
        commit(transaction);
    }
    ~LMDB() override { mdb_env_close(environment); }
    MDB_txn *begin(unsigned flags) {
        MDB_txn *transaction = nullptr;
        int error = mdb_txn_begin(environment, nullptr, flags, &transaction);
        demand(error == 0, mdb_strerror(error));
        return transaction;
    }
    void commit(MDB_txn *transaction) {
        int error = mdb_txn_commit(transaction);
        demand(error == 0, mdb_strerror(error));
    }
    static MDB_val bytes(const std::string &text) { return {text.size(), const_cast<char *>(text.data())}; }
    void put(const std::string &key, const std::string &value, bool) override {
        MDB_txn *transaction = begin(0);
        MDB_val k = bytes(key), v = bytes(value);
        int error = mdb_put(transaction, table, &k, &v, 0);
        demand(error == 0, mdb_strerror(error));
        commit(transaction);
    }
    void remove(const std::string &key) override {
        MDB_txn *transaction = begin(0);
        MDB_val k = bytes(key);
        int error = mdb_del(transaction, table, &k, nullptr);
        demand(error == 0 || error == MDB_NOTFOUND, mdb_strerror(error));
        commit(transaction);
    }
    bool get(const std::string &key, std::string &value) override {
        MDB_txn *transaction = begin(MDB_RDONLY);
        MDB_val k = bytes(key), v;
        int error = mdb_get(transaction, table, &k, &v);
        if (error == 0) value.assign(static_cast<char *>(v.mv_data), v.mv_size);
        mdb_txn_abort(transaction);
        return error == 0;
    }
};

std::unique_ptr<Engine> open(const std::string &name, const std::string &path) {
    if (name == "leveldb") return std::make_unique<LevelDB>(path);
    if (name == "rocksdb") return std::make_unique<RocksDB>(path, false, false);
    if (name == "rocksdb-direct") return std::make_unique<RocksDB>(path, true, false);
    if (name == "rocksdb-mapped") return std::make_unique<RocksDB>(path, false, true);
    if (name == "lmdb-mapped") return std::make_unique<LMDB>(path, MDB_WRITEMAP);
    demand(name == "lmdb", "no engine " + name);
    return std::make_unique<LMDB>(path, 0);
}

std::string value_of(const std::string &key) {
    std::string value;
    for (unsigned long number = std::stoul(key); value.size() < 200 + number % 1800; number = number * 2862933555777941757 + 3037000493)
        value += std::to_string(number);
    return value;
}

void load(Engine &engine, unsigned long count) {
    for (unsigned long number = 1; count == 0 || number <= count; number++) {
        std::string key = std::to_string(number);
        engine.put("passing", key, false);
        if (number % 7 == 0) engine.put("gone" + std::to_string(number % 50), value_of(key), false);
        if (number % 11 == 0) engine.remove("gone" + std::to_string(number % 50));
        bool durable = number % 10 == 0;
        engine.put(key, value_of(key), durable);
        if (durable)
            for (unsigned long each = number - 9; each <= number; each++) printf("%lu\n", each);
        if (durable) fflush(stdout);
        if (number % 1500 == 0) engine.tidy();
    }
}

int check(Engine &engine) {
    unsigned long found = 0, lost = 0;
    for (std::string key, value; std::getline(std::cin, key);) {
        if (engine.get(key, value) && value == value_of(key)) found++;
        else if (lost++ < 5) printf("lost: %s\n", key.c_str());
    }
    printf("%lu found, %lu lost\n", found, lost);
    return lost == 0 && found > 0 ? 0 : 1;
}

}

int main(int count, char **arguments) {
    demand(count >= 4, "usage: engines ENGINE load|check DIRECTORY [COUNT]");
    auto engine = open(arguments[1], arguments[3]);
    if (std::string(arguments[2]) == "check") return check(*engine);
    load(*engine, count > 4 ? strtoul(arguments[4], nullptr, 10) : 0);
    return 0;
}
