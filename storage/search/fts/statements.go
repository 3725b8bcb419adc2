package fts

import (
	"context"
	"database/sql"
)

// statements are those of the writer, prepared once for its connection.
type statements struct {
	begin, commit, rollback                       *sql.Stmt
	getConv, addConv, setConv, goneConv, dropConv *sql.Stmt
	nextGone, someDocs                            *sql.Stmt
	getSender, addSender                          *sql.Stmt
	addDoc, getDoc, setFlags, dropDoc             *sql.Stmt
	addText, dropText                             *sql.Stmt
	addWord, setDrift                             *sql.Stmt

	all []*sql.Stmt
}

func (s *statements) prepare(ctx context.Context, conn *sql.Conn) error {
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.getConv, "SELECT id, cursor, last, docs FROM conv WHERE tenant = ? AND conversation = ? AND gone = 0"},
		{&s.addConv, "INSERT INTO conv (tenant, conversation) VALUES (?, ?)"},
		{&s.setConv, "UPDATE conv SET cursor = ?, last = ?, docs = ? WHERE id = ?"},
		{&s.goneConv, "UPDATE conv SET gone = 1 WHERE id = ?"},
		{&s.dropConv, "DELETE FROM conv WHERE id = ?"},
		{&s.nextGone, "SELECT id FROM conv WHERE gone = 1 LIMIT 1"},
		{&s.someDocs, "SELECT id, flags FROM docs WHERE conv = ? LIMIT ?"},
		{&s.getSender, "SELECT id FROM sender WHERE tenant = ? AND name = ?"},
		{&s.addSender, "INSERT INTO sender (tenant, name) VALUES (?, ?)"},
		{&s.addDoc, "INSERT OR IGNORE INTO docs (id, conv, seq, sender, flags, drift, message) VALUES (?, ?, ?, ?, ?, ?, ?)"},
		{&s.getDoc, "SELECT id, sender, flags FROM docs WHERE conv = ? AND seq = ?"},
		{&s.setFlags, "UPDATE docs SET flags = ? WHERE id = ?"},
		{&s.dropDoc, "DELETE FROM docs WHERE id = ?"},
		{&s.addText, "INSERT INTO fts (rowid, s, t) VALUES (?, ?, ?)"},
		{&s.dropText, "DELETE FROM fts WHERE rowid = ?"},
		{&s.addWord, "INSERT OR IGNORE INTO words (word) VALUES (?)"},
		{&s.setDrift, "UPDATE meta SET v = ? WHERE k = 'drift'"},
	} {
		st, err := conn.PrepareContext(ctx, p.sql)
		if err != nil {
			return err
		}
		*p.to = st
		s.all = append(s.all, st)
	}
	return nil
}

func (s *statements) close() {
	for _, st := range s.all {
		_ = st.Close()
	}
}
